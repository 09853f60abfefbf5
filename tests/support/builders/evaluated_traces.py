"""Builders of evaluated traces."""

import json
from typing import Any

from hypothesis import strategies as st

from domain.evaluation.scores.outcome import Scored
from domain.evaluation.sessions.signals import TraceSignals
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from domain.tracing.span import Span, SpanKind
from tests.support.builders.values import at, prices, span, trace


def json_payload(value: Any) -> bytes | None:
    """Return a payload as stored JSON text."""
    return None if value is None else json.dumps(value).encode()


def payloads(fields: dict[str, Any]) -> dict[str, Any]:
    names = {"input", "output", "metadata", "model_parameters", "token_usage"}
    return {name: json_payload(value) if name in names else value for name, value in fields.items()}


def tool(name: str = "search", given: Any = None, got: Any = "ok", **more: Any) -> Span:
    return span(
        **{
            "name": name,
            "kind": SpanKind.TOOL,
            "input": json_payload(given),
            "output": json_payload(got),
        }
        | payloads(more)
    )


def model(got: Any = None, **more: Any) -> Span:
    fields = {"name": "model", "kind": SpanKind.LLM, "output": json_payload(got)}
    return span(**fields | payloads(more))


def retrieval(got: Any = None, **more: Any) -> Span:
    fields = {"name": "retrieve", "kind": SpanKind.RETRIEVER, "output": json_payload(got)}
    return span(**fields | payloads(more))


def subject(*spans: Span, earlier: tuple[str, ...] = (), **trace_fields: Any) -> EvaluatedTrace:
    """Return a settled trace of these spans, one second apart unless they have a start."""
    placed = [
        Span(**{name: getattr(one, name) for name in one.__slots__} | {"started_at": at(n)})
        if one.started_at == at()
        else one
        for n, one in enumerate(spans)
    ]
    built = trace(*placed, **payloads(trace_fields))
    return EvaluatedTrace(built.settled(prices().price), earlier)


def offering(*tools: Any, **more: Any) -> Span:
    """Return a model call with these declared tools."""
    return model(metadata={"tools": list(tools)}, **more)


def chat(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def assert_no_risk_raises(metric: Any, some: list[TraceSignals], weights: Any, data: Any) -> None:
    """Assert that lowering one score of a trace never raises the session metric."""
    before = metric(some, weights)
    scored = [
        (index, name)
        for index, each in enumerate(some)
        for name, outcome in each.outcomes.items()
        if isinstance(outcome, Scored)
    ]
    if not scored:
        assert not isinstance(before, Scored)
        return
    index, name = data.draw(st.sampled_from(scored))
    outcomes = some[index].outcomes
    lower = data.draw(st.integers(0, 10_000)) / 10_000 * outcomes[name].value
    worse = [*some]
    worse[index] = TraceSignals(some[index].trace, {**outcomes, name: Scored(lower, "")})
    after = metric(worse, weights)
    assert isinstance(after, Scored) is isinstance(before, Scored)
    if isinstance(before, Scored):
        assert after.value <= before.value
