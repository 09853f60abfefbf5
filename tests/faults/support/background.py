"""An event loop in a thread of its own, so that a test can kill processes and wait meanwhile."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any


class Background:
    """Runs coroutines in a second thread, while the main thread starts and ends processes.

    It has to be the main thread that starts a server: the kernel ends the server with that thread.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="background")
        self._thread.start()

    def start[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run[T](self, coroutine: Coroutine[Any, Any, T], within_s: float = 60) -> T:
        return self.start(coroutine).result(within_s)

    def close(self) -> None:
        async def cancel_all() -> None:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.run(cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def background() -> Iterator[Background]:
    running = Background()
    try:
        yield running
    finally:
        running.close()
