"""`serve`: the HTTP API, one process."""

import asyncio
import gc
import signal
from typing import Final, NoReturn

from entrypoints.observability import logs
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, check_servers, listen

# Requests under way may end within it. A silent database holds up what follows for up to 3.5 s
# more; supervisors wait ten seconds or more.
DRAIN_S: Final = 4
BACKLOG: Final = 2048  # connections that wait to be accepted
KEEP_ALIVE_S: Final = 65  # longer than the 60 s after which common load balancers let go
# What a batch is made of lives until its COMMIT: looking for garbage in the midst of it is in vain.
GC_AFTER: Final = 50_000  # containers that were made and not given back


def serve(settings: Settings) -> int:
    """Serves until SIGTERM or SIGINT. Raises CommandError, Unavailable."""
    check_servers(settings)
    logs.configure(settings)
    with listen(settings) as bound:
        # What takes time to import comes after what takes none to refuse. Nothing of it is ever
        # garbage: looking for some takes a tenth of the time now, and more at each later search.
        gc.disable()
        import uvicorn  # noqa: PLC0415

        from entrypoints.composition import root  # noqa: PLC0415
        from entrypoints.server import asgi  # noqa: PLC0415
        from entrypoints.server.protocol_limits import (  # noqa: PLC0415
            BoundedConnection,
            raise_file_limit,
        )

        gc.freeze()
        gc.set_threshold(GC_AFTER, 20, 20)
        gc.enable()
        pending = asyncio.run(root.pending(settings))
        if pending:
            raise CommandError(
                f"the database lacks {len(pending)} migrations ({', '.join(pending)}): "
                "run `pandaprobe-server migrate` first"
            )
        BoundedConnection.connections_max = raise_file_limit()
        config = uvicorn.Config(
            asgi.build_app(settings),
            loop="uvloop",
            http=BoundedConnection,
            ws="none",
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
        )
        server = uvicorn.Server(config)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
        server.run(sockets=[bound])
        return 0 if server.started else 1


def _leave(*_: object) -> NoReturn:
    """An end in order. Uvicorn raises the signal that ended it again, once it has shut down."""
    raise SystemExit(0)
