"""`worker`: work that is done later: taking away the rows of what was removed."""

import asyncio
import contextlib
import logging
import signal
from typing import Final

from application.use_cases import UseCases
from domain.errors import Failure
from entrypoints import composition, logs
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, check_servers

LOG: Final = logging.getLogger("pandaprobe.worker")
NEEDED: Final = ("postgres", "redis", "migrations")
SWEEP_EVERY_S: Final = 10


def work(settings: Settings) -> int:
    """Works until SIGTERM or SIGINT. Raises CommandError, Unavailable."""
    check_servers(settings)
    logs.configure(settings)
    asyncio.run(_work(settings))
    return 0


async def _work(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with composition.ports(settings) as ports:
        for name in NEEDED:
            state = await ports.parts[name].check()
            if not state.ok:
                raise CommandError(f"{name}: {state.detail}")
        LOG.info("waiting for work")
        sweeping = asyncio.create_task(_sweep(UseCases.over(ports)))
        await stopping.wait()
        sweeping.cancel()  # what isn't committed is done again
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
    LOG.info("stopped")


async def _sweep(do: UseCases) -> None:
    while True:
        try:
            if swept := await do.sweep_removed():
                LOG.info("took away %d rows of what was removed", swept)
            await do.sweep_replies()
        except Failure as failure:
            LOG.warning("sweeping goes on later: %s", failure.message)
        except Exception:  # a fault of one round must not end all that follow
            LOG.exception("sweeping goes on later")
        await asyncio.sleep(SWEEP_EVERY_S)
