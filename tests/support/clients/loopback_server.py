"""Serves an application on a port of this machine, for clients that are processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import uvicorn

from tests.support.waiting import until


@asynccontextmanager
async def served(app: Any, *, has_lifespan: bool = False) -> AsyncIterator[str]:
    """The address of the application."""
    lifespan: Literal["on", "off"] = "on" if has_lifespan else "off"
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan=lifespan)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    [bound] = server.servers[0].sockets
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
