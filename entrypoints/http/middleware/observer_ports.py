"""Ports of observers of requests: metrics and spans."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Protocol


class RequestKind(StrEnum):
    """Label of a request in the histogram of durations."""

    INGEST = "ingest"
    READ = "read"
    WRITE = "write"
    OTHER = "other"  # no endpoint was reached, or it was /health or /metrics


class RequestObserver(Protocol):
    """Counts requests. An exception that it raises fails the request."""

    def request_ended(
        self, method: str, route: str, status: int, kind: RequestKind, seconds: float
    ) -> None:
        """`route` is a template, or `-` without one; `status` is 0 if no response was sent."""
        ...

    def rate_limit_decided(self, route_class: str, *, admitted: bool) -> None:
        """Called for each decision of the rate limiter."""
        ...

    def fields_ignored(self, count: int) -> None:
        """Keys of a body were ignored, because traces and spans don't have them."""
        ...

    def otlp_received(self, signal: str, outcome: str, count: int) -> None:
        """Spans or log records were `stored`, `rejected` or `ignored`."""
        ...

    def otlp_rejected(self, reason: str, scope: str, count: int) -> None:
        """Spans or log records were rejected; `scope` is the family of their scope."""
        ...


class RequestSpan(Protocol):
    """The span of one request."""

    def ended(self, name: str, attributes: Mapping[str, str | int], *, has_failed: bool) -> None:
        """Sets name, attributes and status. Called once, at the end of the request."""
        ...


class Tracer(Protocol):
    """Makes a span of each request."""

    def request(self, traceparent: str) -> AbstractContextManager[RequestSpan]:
        """A span for as long as the block runs, with the parent in `traceparent`."""
        ...
