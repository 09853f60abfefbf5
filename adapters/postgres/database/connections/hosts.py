"""Connects to one of several servers: the one that accepts writes, as after a failover.

For a read replica it is one that follows another. A URL may name several hosts,
`postgresql://user:password@one:5432,two:5432/database`. asyncpg tries them in order, within one
time limit for all. A server that hangs, or whose machine is gone, would use up that limit, and the
server that replaces it would never be tried.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from adapters.postgres.database.connections.host_urls import single_host_urls
from adapters.postgres.database.connections.url_parameters import driver_url

# A server that is away, hangs, refuses, or isn't the one that is wanted.
ATTEMPT_ERRORS: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError)
# The attribute that one of several servers must have if the URL doesn't name one.
WRITABLE: Final = SessionAttribute.read_write  # only a primary is of use
STANDBY: Final = SessionAttribute.standby  # for a read replica
QUICK_TIMEOUT_S: Final = 1.0  # for each host at first: a health check waits 2 s in all

type OnChange = Callable[[object], None]
"""Gets the first connection to another server than before."""


@dataclass(slots=True)
class HostSelector:
    """Opens connections for `url`, to the host that was connected to last, if that works.

    Each host gets QUICK_TIMEOUT_S at first. If none answers, each gets an equal part of the time
    that is left, because all may be slow. `on_change` is called once the server that has the
    attribute is another host than before: the connections to that one are of no use any more.
    """

    url: str = field(repr=False)  # it contains a password
    attribute: SessionAttribute = WRITABLE
    on_change: OnChange | None = None
    _urls: list[str] = field(init=False, repr=False)
    _is_known: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._urls = list(single_host_urls(driver_url(self.url)))

    async def connect(self, *_: object, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 - asyncpg's own
        """A connection. The positional arguments, with which a pool calls it, are ignored.

        Raises what the last host raised.
        """
        number = len(self._urls)
        if number == 1:
            return await asyncpg.connect(self._urls[0], timeout=timeout, **options)
        quick_s = min(QUICK_TIMEOUT_S, timeout / number / 2)
        failure: BaseException | None = None
        for limit_s in (quick_s, timeout / number - quick_s):
            for url in list(self._urls):
                try:
                    attribute = None if _names_attribute(url) else self.attribute
                    connection = await asyncpg.connect(
                        url, timeout=limit_s, target_session_attrs=attribute, **options
                    )
                except ATTEMPT_ERRORS as error:
                    failure = error
                else:
                    self._select(url, connection)
                    return connection
            if not isinstance(failure, TimeoutError):
                break
        assert failure is not None
        raise failure

    def _select(self, url: str, connection: object) -> None:
        has_changed = self._is_known and url != self._urls[0]
        self._urls.sort(key=lambda one: one != url)
        self._is_known = True
        if has_changed and self.on_change is not None:
            self.on_change(connection)


def _names_attribute(url: str) -> bool:
    return "target_session_attrs" in parse_qs(urlsplit(url).query)
