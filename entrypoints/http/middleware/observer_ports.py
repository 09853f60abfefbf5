"""Who may look on while requests are answered: what is counted, and what is traced."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What a request is about, as far as its duration goes."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    OTHER = "other"  # no operation was reached, or one of /health and /metrics


class Watch(Protocol):
    """Is told what becomes of requests. What it raises ends the request."""

    def answered(self, method: str, route: str, status: int, kind: Kind, seconds: float) -> None:
        """`route` is a template, `-` where none was found; `status` 0 where nobody was answered."""
        ...

    def decided(self, route_class: str, *, admitted: bool) -> None:
        """What the rate limiter said."""
        ...


class RequestSpan(Protocol):
    """A request that is being traced."""

    def ended(self, name: str, attributes: Mapping[str, str | int], *, has_failed: bool) -> None:
        """Says what it was. Called once, at the end."""
        ...


class Tracer(Protocol):
    """Makes a span of each request."""

    def request(self, traceparent: str) -> AbstractContextManager[RequestSpan]:
        """A span for as long as the block runs, below what `traceparent` says."""
        ...
