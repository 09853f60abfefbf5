"""Spans of our own, sent to a collector as OTLP over HTTP in JSON, joined by `traceparent`.

All that isn't sent yet is bounded, and what finds no room is dropped: nothing waits for a
collector, and nothing fails because it is away.
"""

import asyncio
import logging
import re
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import msgspec

SPANS_MAX: Final = 8_192  # that wait to be sent, of a few hundred bytes each
SENT_AT_ONCE: Final = 512
SEND_EVERY_S: Final = 2.0
TIMEOUT_S: Final = 5.0  # for a collector to take what it is sent
LAST_SEND_S: Final = 1.0  # a stop isn't held up longer by a collector that doesn't answer
LINKS_MAX: Final = 64
AGENT: Final = "pandaprobe-server-spans/1"
_FORM: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = 1
_FAILED: Final = 2

type Value = str | int | float | bool
type Attributes = dict[str, Value]
type OnSpans = Callable[[str, int], None]
"""Told of what became of how many spans: `sent`, `dropped` or `refused`."""

_log: Final = logging.getLogger(__name__)


class SpanKind(IntEnum):
    """By the numbers of OTLP."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which trace a span is; both in hexadecimal digits."""

    trace_id: str
    span_id: str
    is_sampled: bool = True


@dataclass(slots=True)
class Doing:
    """A span that isn't over yet: what is learned meanwhile goes into it."""

    name: str
    place: Place
    attributes: Attributes = field(default_factory=dict)
    has_failed: bool = False


_current: Final[ContextVar[Place | None]] = ContextVar("own span", default=None)


def here() -> Place | None:
    """The span that this task works for."""
    return _current.get()


def place_of(traceparent: str) -> Place | None:
    """What a header `traceparent` says (W3C Trace Context); None where it has another form."""
    found = _FORM.fullmatch(traceparent.strip())
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return Place(found[1], found[2], is_sampled=bool(int(found[3], 16) & _SAMPLED))


class OwnSpans:
    """Takes spans and sends them. A parent that isn't sampled has no children here either."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        resource: Attributes,
        on_spans: OnSpans = lambda _what, _count: None,
    ) -> None:
        self._url = f"{url.rstrip('/')}/v1/traces"
        self._headers = {**headers, "content-type": "application/json", "user-agent": AGENT}
        self._resource = {"attributes": _written(resource)}
        self._on_spans = on_spans
        self._due: deque[dict[str, Any]] = deque()
        self._has_failed = False

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        url: str,
        headers: Mapping[str, str],
        resource: Attributes,
        on_spans: OnSpans = lambda _what, _count: None,
        every_s: float = SEND_EVERY_S,
    ) -> AsyncIterator["OwnSpans"]:
        """Sends while the block is open, and what is left when it is left."""
        spans = cls(url, headers, resource, on_spans)
        rounds = asyncio.create_task(spans._rounds(every_s))
        try:
            yield spans
        finally:
            rounds.cancel()
            await asyncio.wait([rounds])
            try:
                async with asyncio.timeout(LAST_SEND_S):
                    await spans.send()
            except TimeoutError:
                _log.warning("%d spans of our own were not sent", len(spans._due))

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: Place | None = None,
        trace_id: str | None = None,
    ) -> Iterator[Doing]:
        """The block: at the top of a trace, or below `parent`, else below `here`."""
        above = None if trace_id else parent or here()
        doing = Doing(name, _below(above, trace_id))
        began_ns, began = time.time_ns(), time.perf_counter_ns()
        token = _current.set(doing.place)
        try:
            yield doing
        except BaseException:
            doing.has_failed = True
            raise
        finally:
            _current.reset(token)
            ended_ns = began_ns + time.perf_counter_ns() - began
            self._take(doing, kind, above, (), (began_ns, ended_ns))

    def record(
        self,
        name: str,
        kind: SpanKind,
        seconds: float,
        attributes: Attributes,
        *,
        above: Sequence[Place] = (),
        has_failed: bool = False,
    ) -> None:
        """What has just ended: below the first of `above`, linked to the others; else to none."""
        around = here()
        places = list(above) or ([around] if around else [])
        parent = places[0] if places else None
        doing = Doing(name, _below(parent), attributes, has_failed)
        ended_ns = time.time_ns()
        during_ns = (ended_ns - int(seconds * 1e9), ended_ns)
        self._take(doing, kind, parent, places[1 : LINKS_MAX + 1], during_ns)

    def moment(self, trace_id: str, name: str, attributes: Attributes, because_of: Place) -> None:
        """Something at the top of a trace, linked to a span; nothing where that isn't sampled."""
        doing = Doing(name, Place(trace_id, _span_id(), because_of.is_sampled), attributes)
        now_ns = time.time_ns()
        self._take(doing, SpanKind.INTERNAL, None, [because_of], (now_ns, now_ns))

    async def send(self) -> None:
        """Sends all that is due, a part at a time; what can't be sent is dropped."""
        import httpx2  # noqa: PLC0415 - slow to import, and seldom needed

        if not self._due:
            return
        async with httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
            while self._due:
                part = [self._due.popleft() for _ in range(min(len(self._due), SENT_AT_ONCE))]
                try:
                    answer = await client.post(
                        self._url, content=self._body(part), headers=self._headers
                    )
                    answer.raise_for_status()
                except asyncio.CancelledError:
                    # Perhaps it arrived: then it does so twice, as the same spans.
                    self._due.extendleft(reversed(part))
                    raise
                except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                    self._on_spans("refused", len(part))
                    self._tell(error)
                    return
                self._on_spans("sent", len(part))
                self._has_failed = False

    async def _rounds(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.send()
            except Exception:  # noqa: BLE001 - a fault of one round must not end all that follow
                _log.exception("spans of our own are sent later")

    def _take(
        self,
        doing: Doing,
        kind: SpanKind,
        parent: Place | None,
        links: Sequence[Place],
        during_ns: tuple[int, int],
    ) -> None:
        if not doing.place.is_sampled:
            return
        if len(self._due) >= SPANS_MAX:
            self._on_spans("dropped", 1)
            return
        span: dict[str, Any] = {
            "traceId": doing.place.trace_id,
            "spanId": doing.place.span_id,
            "name": doing.name,
            "kind": int(kind),
            "startTimeUnixNano": str(during_ns[0]),
            "endTimeUnixNano": str(during_ns[1]),
            "attributes": _written(doing.attributes),
        }
        if parent is not None:
            span["parentSpanId"] = parent.span_id
        if links:
            span["links"] = [{"traceId": one.trace_id, "spanId": one.span_id} for one in links]
        if doing.has_failed:
            span["status"] = {"code": _FAILED}
        self._due.append(span)

    def _body(self, spans: Sequence[dict[str, Any]]) -> bytes:
        scope = {"scope": {"name": "pandaprobe-server"}, "spans": spans}
        return msgspec.json.encode(
            {"resourceSpans": [{"resource": self._resource, "scopeSpans": [scope]}]}
        )

    def _tell(self, error: Exception) -> None:
        if not self._has_failed:
            _log.warning("the collector takes no spans of our own (%s)", type(error).__name__)
        self._has_failed = True


def _below(parent: Place | None, trace_id: str | None = None) -> Place:
    if parent is None:
        return Place(trace_id or secrets.token_hex(16), _span_id())
    return Place(parent.trace_id, _span_id(), parent.is_sampled)


def _span_id() -> str:
    return secrets.token_hex(8)


def _written(attributes: Attributes) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
    return {"stringValue": value}
