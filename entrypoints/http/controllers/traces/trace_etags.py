"""ETags of what shows a whole trace: its revision tells whether it changed, before it is read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from entrypoints.http.config import http_context
from entrypoints.http.middleware.request_ids import HttpRequest
from entrypoints.http.requests.etags import is_known, requested_etags, weak_etag


@dataclass(frozen=True, slots=True)
class TraceEtags:
    """The ETags that a request knows.

    The version is part of them: another one may show a trace differently.
    """

    headers: Iterable[tuple[bytes, bytes]]
    version: str

    @classmethod
    def from_request(cls, request: HttpRequest) -> Self:
        return cls(request.scope["headers"], http_context(request).config.version)

    @property
    def are_known(self) -> bool:
        """Whether the request knows an ETag."""
        return bool(requested_etags(self.headers))

    def etag(self, revision: str) -> str:
        return weak_etag(f"{revision} {self.version}".encode())

    def knows(self, revision: str) -> bool:
        return is_known(self.etag(revision), self.headers)
