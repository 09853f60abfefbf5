"""How a signal tells a process that it is time to stop."""

import time


class Stop:
    """Whether it is time to stop; a signal says so.

    A plain flag: a signal may come while the handler of one before runs, which must then hold no
    lock, as that of a threading.Event is.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleeps so long; whether it is time then."""
        time.sleep(seconds)
        return self._is_set
