"""`serve`: runs the HTTP API, in one process or in several that share its port."""

import asyncio
import gc
import logging
import signal
import socket
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, NoReturn

from msgspec import structs

from adapters.embedded.process import Child
from entrypoints.observability import logs
from entrypoints.processes import child_processes
from entrypoints.processes.heap import limit_heap
from entrypoints.settings import Settings, variable
from entrypoints.startup import check_servers, listen

if TYPE_CHECKING:
    import uvicorn

    from entrypoints.server import asgi

LOG: Final = logging.getLogger("pandaprobe.serve")
STOP_TIMEOUT_S: Final = 9.0  # of one process among several; supervisors wait for ten or more
BACKLOG: Final = 2048  # connections that wait to be accepted
# A batch lives until its COMMIT, so that a collection before it finds nothing. A collection of the
# older generations stops all threads for half a second while 100,000 spans are held. It finds only
# cycles that lived during a collection of the youngest, and these are few.
GC_THRESHOLD: Final = 50_000  # allocated containers
GC_THRESHOLDS_OF_OLDER: Final = (200, 20)  # collections of the younger generation
# After which a thread that computes gives way. The event loop waits as long for each such thread.
THREAD_SWITCH_S: Final = 0.001


def serve(settings: Settings, inherited: int | None = None) -> int:
    """Serves until SIGTERM or SIGINT. Raises CommandError, SettingsError, Failure.

    `inherited` is the open file of a socket whose port the processes of one command share.
    """
    limit_heap()
    check_servers(settings)
    logs.configure(settings)
    if settings.api_processes > 1:
        return _supervise(settings)
    with listen(settings) if inherited is None else socket.socket(fileno=inherited) as bound:
        if inherited is None:
            _check_grpc_port(settings)
            _check_migrations(settings)
        # Slow imports come after the quick checks. Imported objects are never garbage: collecting
        # would take a tenth of the import time now, and more at each later collection.
        gc.disable()
        from entrypoints.server import asgi  # noqa: PLC0415
        from entrypoints.server.protocol_limits import (  # noqa: PLC0415
            BoundedConnection,
            raise_file_limit,
        )

        gc.freeze()
        gc.set_threshold(GC_THRESHOLD, *GC_THRESHOLDS_OF_OLDER)
        gc.enable()
        sys.setswitchinterval(THREAD_SWITCH_S)
        BoundedConnection.connections_max = raise_file_limit(
            has_grpc=settings.otlp_grpc_port is not None
        )
        app = asgi.App(settings, shares_ports=inherited is not None)
        config = server_config(app, settings)
        server = asgi.Server(config, app)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _exit)
        try:
            server.run(sockets=[bound])
        except SystemExit:
            if app.refusal is not None:
                raise app.refusal from None
            raise
        return 0 if server.started else 1


def server_config(app: "asgi.App", settings: Settings) -> "uvicorn.Config":
    """The options of the HTTP server."""
    import uvicorn  # noqa: PLC0415 - slow to import, also the others

    from entrypoints.server import asgi  # noqa: PLC0415
    from entrypoints.server.protocol_limits import BoundedConnection  # noqa: PLC0415

    return uvicorn.Config(
        app,
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
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=asgi.DRAIN_TIMEOUT_S,
    )


def _supervise(settings: Settings) -> int:
    """Runs several processes, each with a socket of its own for the same port.

    From one socket that all share, one of them would accept all connections that come at once.
    """
    stop = child_processes.StopFlag.on_signals()
    with ExitStack() as stack:
        listen(settings).close()  # fails if another service has the port, shared or not
        _check_grpc_port(settings)
        _check_migrations(settings)  # here, so that the reason is said once
        # A scrape of /metrics has those of all processes.
        folder = settings.metrics_dir or stack.enter_context(tempfile.TemporaryDirectory())
        children: list[Child] = []
        stack.callback(child_processes.stop_all, children, STOP_TIMEOUT_S)
        sockets = [listen(settings, is_shared=True) for _ in range(settings.api_processes)]
        for one in sockets:
            one.listen(BACKLOG)  # all before a process is ready, which else would get all clients
        for one in sockets:
            children.append(
                child_processes.start(
                    "serve",
                    *("--processes", "1", "--inherited-socket", str(one.fileno())),
                    environ={variable("metrics_dir"): folder},
                    orphaned=signal.SIGTERM,
                    pass_fds=(one.fileno(),),
                )
            )
            one.close()
        return child_processes.watch(children, stop, LOG)


def with_options(settings: Settings, processes: int | None) -> Settings:
    """The settings, overridden by an option of the command line."""
    return structs.replace(settings, api_processes=processes or settings.api_processes)


def _check_migrations(settings: Settings) -> None:
    from entrypoints.composition import database  # noqa: PLC0415 - slow to import

    asyncio.run(database.check_migrations(settings))


def _check_grpc_port(settings: Settings) -> None:
    """Raises CommandError if it can't be bound. The library that binds it doesn't say why."""
    port = settings.otlp_grpc_port
    if port is not None:
        listen(structs.replace(settings, port=port), "otlp_grpc_port").close()


def _exit(*_: object) -> NoReturn:
    """Exits normally. After its shutdown, uvicorn raises the signal that ended it again."""
    raise SystemExit(0)
