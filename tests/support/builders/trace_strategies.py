"""Strategies of overlapping traces, filters and periods: few values, instants on edges."""

import json
import random
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from domain.page import PageRequest, SortOrder
from domain.tracing.analytics import Granularity, Period
from domain.tracing.payloads.payload import JsonText
from domain.tracing.query import TraceFilter, TraceSort
from domain.tracing.session import SessionFilter, SessionSort
from domain.tracing.span import Span, SpanChange, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceChange, TraceStatus
from tests.support.builders import strategies
from tests.support.builders.strategies import clearable, maybe


def mostly[T](usual: SearchStrategy[T], rare: SearchStrategy[T]) -> SearchStrategy[T]:
    """The usual value in four of five cases."""
    return st.integers(0, 4).flatmap(lambda n: rare if n == 4 else usual)


span_ids: Final = st.sampled_from(strategies.SPAN_IDS[:3])
sessions: Final = st.sampled_from(["s", "S/%_\\", "ß", ""])
users: Final = st.sampled_from(["u", "v", ""])
environments: Final = st.sampled_from(["prod", ""])
tags: Final = st.lists(st.sampled_from(["a", "b", "B", ""]), max_size=3).map(tuple)
models: Final = st.sampled_from(["gpt-4o", "openai/gpt-4o", "tiny", "unlisted", ""])
names: Final = st.sampled_from(["run", "Run 100%", "straße", "a_b\\", "z"])
starts: Final = mostly(strategies.edges, strategies.instants)
ends: Final = starts
usages: Final = st.sampled_from(
    [b'{"prompt_tokens":3,"completion_tokens":"4"}', b'{"prompt_tokens":1e3}', b"{}"]
)
costs: Final = st.sampled_from([{"total": 0.1}, {"a": 0.2, "b": 0.3}, {"total": 1.0}, {}])
trace_statuses: Final = st.sampled_from(TraceStatus)
span_statuses: Final = st.sampled_from(SpanStatus)
kinds: Final = st.sampled_from([SpanKind.TOOL, SpanKind.LLM])

KEYS: Final = ("k", "a.b", "")
VALUES: Final = (*('"v"', '"1"', "1", "1.0", "true", "null", '"null"', "{}", '["v"]', r'"\u0076"'),)
_members: Final = st.lists(
    st.tuples(st.sampled_from([*(f'"{key}"' for key in KEYS), r'"\u006b"']),
              st.sampled_from(VALUES)),
    max_size=3,
)  # fmt: skip
metadata: Final[SearchStrategy[JsonText]] = _members.map(
    lambda members: ("{" + ", ".join(f"{k}: {v}" for k, v in members) + "}").encode()
)
# Long texts, which traces repeat, and which hardly compress.
PROMPTS: Final = [
    json.dumps({"system": "".join(random.Random(n).choices("abcdefg hij\n", k=5_000))}).encode()
    for n in range(2)
]


def spans() -> SearchStrategy[Span]:
    return st.builds(
        Span,
        id=span_ids,
        name=names,
        kind=kinds,
        started_at=starts,
        ended_at=maybe(ends),
        status=maybe(span_statuses),
        model=maybe(models),
        token_usage=maybe(usages),
        cost=maybe(costs),
        metadata=metadata,
        input=maybe(mostly(strategies.payloads, st.sampled_from(PROMPTS))),
        charge=st.none(),
    )


def traces() -> SearchStrategy[Trace]:
    """Mostly from few values, sometimes any."""
    close = st.builds(
        Trace,
        id=strategies.trace_ids,
        name=names,
        started_at=starts,
        ended_at=maybe(ends),
        status=maybe(trace_statuses),
        session_id=maybe(sessions),
        user_id=maybe(users),
        environment=maybe(environments),
        release=maybe(environments),
        metadata=metadata,
        tags=tags,
        spans=st.lists(spans(), min_size=1, max_size=3).map(tuple),
    )
    return mostly(close, strategies.traces())


trace_changes: Final = strategies.trace_changes | st.builds(
    TraceChange,
    name=maybe(names),
    status=maybe(trace_statuses),
    tags=maybe(tags),
    metadata=metadata,
    ended_at=clearable(ends),
    session_id=clearable(sessions),
    user_id=clearable(users),
    environment=clearable(environments),
)
span_changes: Final = strategies.span_changes | st.builds(
    SpanChange,
    name=maybe(names),
    kind=maybe(kinds),
    status=maybe(span_statuses),
    model=clearable(models),
    token_usage=clearable(usages),
    cost=clearable(costs),
    metadata=metadata,
    ended_at=clearable(ends),
)

# --- filters ---------------------------------------------------------------------------------

_asked: Final[dict[str, SearchStrategy[Any]]] = {
    "session_id": sessions,
    "user_id": users,
    "environment": environments,
    "release": environments,
    "status": st.sampled_from([TraceStatus.COMPLETED, TraceStatus.ERROR]),
    "tags": tags,
    "name": st.sampled_from(["", "R", "SS", "%", "_", "\\", "zz"]),
    "started_after": starts,
    "started_before": starts,
    "model": models,
    "min_latency_ms": st.sampled_from([-1e18, 0, 0.001, 3.6e6, 1e18]),
    "max_latency_ms": st.sampled_from([-1e18, 0, 1799999.999, 3.6e6, 1e18]),
    "has_error": st.booleans(),
    "has_failed_span": st.booleans(),
    "metadata": st.lists(
        st.tuples(
            st.sampled_from(KEYS),
            st.lists(st.sampled_from(["v", "1", "1.0", "null", "{}"]), max_size=2).map(tuple),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    "environments": st.lists(environments, max_size=2).map(tuple),
    "statuses": st.lists(st.sampled_from(TraceStatus), max_size=2).map(tuple),
    "names": st.lists(names, max_size=2).map(tuple),
    "tags_all": tags,
    "min_cost": st.sampled_from([0.0, 0.1, 1e9]),
    "min_tokens": st.sampled_from([0, 1, 2**62]),
    "min_span_count": st.integers(0, 4),
    "span_kind": kinds,
    "span_name": names,
}
_excluded: Final = {
    f"not_{name}": st.lists(of, max_size=2).map(tuple)
    for name, of in _asked.items()
    if name
    in {
        "session_id",
        "user_id",
        "environment",
        "release",
        "status",
        "name",
        "model",
        "span_kind",
        "span_name",
    }
} | {f"not_{name}": _asked[name] for name in ("tags", "metadata")}
_asked_of_sessions: Final[dict[str, SearchStrategy[Any]]] = {
    "user_id": users,
    "has_error": st.booleans(),
    "has_failed_span": st.booleans(),
    "started_after": starts,
    "started_before": starts,
    "tags": tags,
    "query": st.sampled_from(["", "S", "ss", "%", "\\"]),
    "not_user_id": _excluded["not_user_id"],
    "not_tags": tags,
}


def _some(of: dict[str, SearchStrategy[Any]], most: int) -> SearchStrategy[dict[str, Any]]:
    """Values for a few of the conditions: with all of them, no trace would match."""
    chosen = st.lists(st.sampled_from(sorted(of)), max_size=most, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: of[name] for name in names}))


filters: Final = _some(_asked | _excluded, 2).map(lambda said: TraceFilter(**said))
session_filters: Final = _some(_asked_of_sessions, 2).map(lambda said: SessionFilter(**said))
sorts: Final = st.sampled_from(TraceSort)
session_sorts: Final = st.sampled_from(SessionSort)
orders: Final = st.sampled_from(SortOrder)
limits: Final = st.integers(1, 3)
windows: Final = st.builds(PageRequest, limits, st.integers(0, 3))
granularities: Final = st.sampled_from(Granularity)
periods: Final = mostly(
    st.lists(starts, min_size=2, max_size=2).map(sorted).map(lambda two: Period(*two)),
    st.builds(Period, starts, starts),
)
