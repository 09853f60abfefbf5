"""Strategies of OpenTelemetry fragments: few ids and values, so that they meet in traces."""

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from domain.tracing.otel.fragments import Scope, Sent, SentEvent, SentRecord, SentSpan

SECOND: Final = 1_000_000_000
START_NS: Final = 1_770_000_000 * SECOND
HEX_IDS: Final = tuple(f"{n:016x}" for n in range(1, 6))
CLAUDE_SPANS: Final = Scope("com.anthropic.claude_code.tracing")
CLAUDE_RECORDS: Final = Scope("com.anthropic.claude_code.events")

hex_ids: Final = st.sampled_from(HEX_IDS)
times: Final = st.integers(0, 6).map(lambda n: START_NS + n * SECOND // 2)


def _optional(**values: Any) -> SearchStrategy[Mapping[str, Any]]:
    """Some of the attributes, by name with `__` in place of dots."""
    named = {name.replace("__", "."): strategy for name, strategy in values.items()}
    return st.fixed_dictionaries({}, optional=named)


def _messages(role: str) -> SearchStrategy[str]:
    texts = st.sampled_from(["hi", "sunny", "ü"])
    return texts.map(lambda text: f'[{{"role": "{role}", "content": "{text}"}}]')


attributes: Final = _optional(
    gen_ai__operation__name=st.sampled_from(["chat", "execute_tool", "invoke_agent", "embeddings"]),
    gen_ai__response__model=st.sampled_from(["gpt-4o", "tiny", "unlisted"]),
    gen_ai__provider__name=st.sampled_from(["openai", "langchain"]),
    gen_ai__response__id=st.sampled_from(["r1", "r2"]),
    gen_ai__usage__input_tokens=st.integers(0, 3).map(lambda n: n * 1_000),
    gen_ai__usage__output_tokens=st.integers(0, 2).map(lambda n: n * 10),
    gen_ai__usage__cost=st.sampled_from([0.1, 0.25]),
    gen_ai__input__messages=_messages("user"),
    gen_ai__output__messages=_messages("assistant"),
    input__value=st.sampled_from(["in", '{"a": 1.0}']),
    output__value=st.sampled_from(["out", "[1, 2]"]),
    session__id=st.sampled_from(["s", "t"]),
    user__id=st.sampled_from(["u", "v"]),
    langfuse__trace__name=st.sampled_from(["named", "other"]),
    langfuse__trace__input=st.sampled_from(["stated", '{"b": 2}']),
    langfuse__trace__tags=st.lists(st.sampled_from(["a", "b"]), max_size=2),
    langfuse__trace__metadata__tier=st.sampled_from(["gold", "tin"]),
    langfuse__environment=st.sampled_from(["prod", "dev"]),
    metadata=st.sampled_from(['{"k": 1}', '{"k": 2, "otel": 3}']),
    error__type=st.just("Boom"),
    langfuse__internal__is_app_root=st.just(True),
)
_claude_attributes: Final = st.fixed_dictionaries(
    {"span.type": st.sampled_from(["interaction", "llm_request", "tool"])},
    optional={
        "tool_use_id": st.sampled_from(["c1", "c2"]),
        "input_tokens": st.integers(1, 9),
        "gen_ai.response.model": st.just("gpt-4o"),
    },
)


def spans() -> SearchStrategy[SentSpan]:
    """Started and ended spans of any tree, parents that never come and cycles included."""

    def build(claude: bool, ended: bool) -> SearchStrategy[SentSpan]:
        return st.builds(
            SentSpan,
            span_id=hex_ids,
            parent_span_id=st.none() | hex_ids | st.just("ffffffffffffffff"),
            parent_is_remote=st.sampled_from([None, True, False]),
            name=st.sampled_from(["run", "chat", "step"]),
            start_ns=times,
            end_ns=times.map(lambda at: at + SECOND) if ended else st.just(0),
            status_code=st.sampled_from([0, 0, 1, 2]),
            attributes=_claude_attributes if claude else attributes,
            events=st.lists(
                st.builds(
                    SentEvent,
                    times,
                    st.just("gen_ai.user.message"),
                    st.just({"content": "of an event"}),
                ),
                max_size=1,
            ).map(tuple),
            scope=st.just(CLAUDE_SPANS if claude else Scope("tests", "1")),
            resource=st.sampled_from([{}, {"service.name": "shop", "service.version": "3"}]),
        )

    return st.tuples(
        st.sampled_from([False, False, False, True]), st.sampled_from([True, True, False])
    ).flatmap(lambda drawn: build(*drawn))


_details: Final = st.builds(
    SentRecord,
    name=st.just("gen_ai.client.inference.operation.details"),
    time_ns=times,
    span_id=hex_ids,
    attributes=attributes,
)
_choices: Final = st.builds(
    SentRecord,
    name=st.just("gen_ai.choice"),
    time_ns=times,
    span_id=hex_ids,
    body=st.just({"index": 0, "message": {"role": "assistant", "content": "of a record"}}),
)
_evaluations: Final = st.builds(
    SentRecord,
    name=st.just("gen_ai.evaluation.result"),
    time_ns=times,
    span_id=st.none() | hex_ids,
    attributes=st.just({"gen_ai.evaluation.name": "ok", "gen_ai.evaluation.score.value": 1.0}),
)


def _claude_record(name: str, **values: Any) -> SearchStrategy[SentRecord]:
    return st.builds(
        SentRecord,
        name=st.just(f"claude_code.{name}"),
        time_ns=times,
        span_id=hex_ids,
        attributes=st.fixed_dictionaries(values),
        scope=st.just(CLAUDE_RECORDS),
    )


def records() -> SearchStrategy[SentRecord]:
    return st.one_of(
        _details,
        _choices,
        _evaluations,
        _claude_record("user_prompt", prompt=st.sampled_from(["ask", "tell"])),
        _claude_record("api_request", cost_usd=st.sampled_from([0.5, 0.125])),
        _claude_record("assistant_response", response=st.sampled_from(["aye", "nay"])),
        _claude_record(
            "tool_result",
            tool_use_id=st.sampled_from(["c1", "c2"]),
            tool_input=st.just('{"f": 1}'),
            success=st.sampled_from(["true", "false"]),
        ),
    )


def sent() -> SearchStrategy[Sent]:
    """Mostly spans."""
    return st.integers(0, 3).flatmap(lambda n: records() if n == 0 else spans())
