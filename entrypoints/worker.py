"""`worker`: work that is done later. It has no jobs yet; it checks what it needs and waits."""

import asyncio
import logging
import signal
from typing import Final

from entrypoints import composition, logs
from entrypoints.settings import Settings
from entrypoints.startup import CommandError, check_servers

LOG: Final = logging.getLogger("pandaprobe.worker")
NEEDED: Final = ("postgres", "redis", "migrations")


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
        await stopping.wait()
    LOG.info("stopped")
