"""The row of a span, and its facts, from its fragments."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.otlp.mapping.flags import Flag
from adapters.otlp.mapping.json_values import is_empty, member_id, plain_text
from adapters.otlp.mapping.kinds import kind_of
from adapters.otlp.mapping.merging import MergedSpan, merged
from adapters.otlp.mapping.payloads import Payload, input_of, output_of, payload
from adapters.otlp.mapping.reading import Reading, Target, read
from adapters.otlp.mapping.rules import MAPPING_VERSION, rule_table
from adapters.otlp.mapping.span_metadata import merged_members, sender_metadata, span_metadata
from adapters.otlp.mapping.tokens import Tokens, tokens_of
from adapters.otlp.mapping.transforms import ID_CHARS_MAX, identifier, name
from domain.ids import TraceId
from domain.tracing.otel.facts import MappedSpan, SpanFacts
from domain.tracing.otel.fragments import Sent, otel_span_id
from domain.tracing.span import Span, SpanKind, SpanStatus

TAGS_MAX: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STATUSES: Final = {1: SpanStatus.OK, 2: SpanStatus.ERROR}
_ENVIRONMENTS: Final = (
    "langfuse.environment",
    "deployment.environment.name",
    "deployment.environment",
)
_RELEASES: Final = ("langfuse.release", "service.version")


def map_span(trace_id: TraceId, fragments: Sequence[Sent]) -> MappedSpan:
    """The row of a span and its facts: a function of the set of its fragments."""
    merged_span = merged(fragments)
    sent = merged_span.best
    reading = read(merged_span, rule_table(sent.scope.name))
    model, request_model = reading.text(Target.MODEL), reading.text(Target.REQUEST_MODEL)
    provider = reading.text(Target.PROVIDER)
    names = (model, request_model) if model or request_model else (provider,)
    tokens = tokens_of(reading, *names)
    cost = reading.first(Target.COST)
    kind = reading.kind = kind_of(reading, has_usage=tokens is not None or cost is not None)
    given, returned = input_of(reading), output_of(reading)
    first_token_ns = reading.first(Target.FIRST_TOKEN)
    metadata = sender_metadata(reading)
    facts = _facts(reading, tokens, given, returned, metadata, has_cost=cost is not None)
    name_of_span = _name(merged_span, model, reading)
    status, error = _status(reading), _error(reading)
    parameters = reading.text(Target.MODEL_PARAMETERS)
    _note_flags(reading)
    parent = sent.parent_span_id
    span = Span(
        id=otel_span_id(trace_id, sent.span_id),
        name=name_of_span,
        started_at=_at(sent.start_ns),
        parent_id=None if parent is None else otel_span_id(trace_id, parent),
        kind=kind,
        status=status,
        ended_at=_at(sent.end_ns) if sent.end_ns else None,
        completion_started_at=_at(first_token_ns) if isinstance(first_token_ns, int) else None,
        error=error,
        model=model,
        provider=provider,
        request_model=request_model,
        input=None if given is None else given.text,
        output=None if returned is None else returned.text,
        metadata=span_metadata(reading, metadata, request_model, facts.response_id),
        token_usage=None if tokens is None else tokens.token_usage,
        model_parameters=None if parameters is None else parameters.encode(),
        cost=cost if isinstance(cost, dict) else None,
        usage=None if tokens is None else tokens.usage,
    )
    return MappedSpan(span, facts)


def _facts(
    reading: Reading,
    tokens: Tokens | None,
    given: Payload | None,
    returned: Payload | None,
    metadata: Mapping[str, str],
    *,
    has_cost: bool,
) -> SpanFacts:
    sent, is_llm = reading.span.best, reading.kind is SpanKind.LLM
    is_tool = reading.kind is SpanKind.TOOL
    session = reading.text(Target.SESSION_ID)
    service = reading.span.resource.get("service.name")
    return SpanFacts(
        hex_id=sent.span_id,
        start_ns=sent.start_ns,
        end_ns=sent.end_ns,
        parent_is_remote=sent.parent_is_remote,
        is_start_only=not sent.end_ns,
        is_app_root=reading.first(Target.APP_ROOT) is not None,
        is_setup=Flag.SETUP in reading.flags,
        is_claude_request=is_llm and reading.first(Target.CLAUDE_REQUEST) is not None,
        tool_use_id=reading.text(Target.TOOL_CALL_ID) if is_tool else None,
        trace_name=reading.text(Target.TRACE_NAME),
        trace_input=_payload_text(reading, Target.TRACE_INPUT),
        trace_output=_payload_text(reading, Target.TRACE_OUTPUT),
        session_id=session,
        made_up_session=session is not None and session == reading.first(Target.MADE_UP_SESSION),
        user_id=reading.text(Target.USER_ID),
        environment=_of_resource(reading, Target.ENVIRONMENT, _ENVIRONMENTS),
        release=_of_resource(reading, Target.RELEASE, _RELEASES),
        service=plain_text(service)[:ID_CHARS_MAX] if isinstance(service, str) else None,
        tags=_tags(reading),
        trace_metadata=merged_members(reading, Target.TRACE_METADATA),
        sender_metadata=metadata,
        response_id=_response_id(reading),
        buckets=0 if tokens is None else tokens.buckets,
        has_stated_cost=has_cost,
        has_user_message=is_llm and given is not None and given.has_user_message,
        has_assistant_message=is_llm and returned is not None and returned.has_assistant_message,
        mapping_version=MAPPING_VERSION,
        won_keys=reading.won,
    )


def _payload_text(reading: Reading, target: Target) -> str | None:
    found = payload(reading, target)
    return None if found is None else found.text.decode()


def _of_resource(reading: Reading, target: Target, keys: Sequence[str]) -> str | None:
    """The first usable value: of the span's attributes, else of its resource."""
    name_of_target = target.name.lower()
    found = reading.text(target)
    if name_of_target in reading.won:  # with None for one that is too long
        return found
    for key in keys:
        if is_empty(value := reading.span.resource.get(key)):
            continue
        given = identifier(value, reading)
        if given is not None:
            reading.won[name_of_target] = key
            return given if isinstance(given, str) else None
    return None


def _tags(reading: Reading) -> tuple[str, ...]:
    if Target.TAGS not in reading.hits:
        return ()
    found = sorted({tag for tags in reading.every(Target.TAGS) for tag in tags})  # type: ignore[attr-defined] # lists of text
    if len(found) > TAGS_MAX:
        reading.flags.add(Flag.TRUNCATED)
    return tuple(found[:TAGS_MAX])


def _response_id(reading: Reading) -> str | None:
    """The id of the model's answer, which may be only in the answer itself."""
    if found := reading.text(Target.RESPONSE_ID):
        return found
    if reading.first(Target.ANSWER_WITH_ID) is None:
        return None
    inner = member_id(reading.attribute("output.value"))
    given = identifier(inner, reading) if inner else None
    return given if isinstance(given, str) else None


def _name(merged_span: MergedSpan, model: str | None, reading: Reading) -> str:
    """The name of the span; without one, its kind and model."""
    if merged_span.name and isinstance(found := name(merged_span.name, reading), str):
        return found
    return f"{reading.kind} {model}" if model else str(reading.kind)


def _status(reading: Reading) -> SpanStatus:
    stated = reading.first(Target.STATUS)
    if isinstance(stated, SpanStatus):
        return stated
    found = _STATUSES.get(reading.span.best.status_code, SpanStatus.UNSET)
    if found is SpanStatus.UNSET and reading.first(Target.ERROR_TYPE) is not None:
        return SpanStatus.ERROR
    return found


def _error(reading: Reading) -> str | None:
    """The error in the words of the most explicit source."""
    return (
        reading.text(Target.STATUS_MESSAGE)
        or reading.text(Target.ERROR_EVENT)
        or plain_text(reading.span.best.status_message)
        or reading.text(Target.ERROR_TYPE)
    )


def _note_flags(reading: Reading) -> None:
    merged_span, sent = reading.span, reading.span.best
    if merged_span.is_truncated:
        reading.flags.add(Flag.TRUNCATED)
    if not sent.end_ns:
        reading.flags.add(Flag.START_ONLY)
    elif sent.end_ns < sent.start_ns:
        reading.flags.add(Flag.CLOCK_SKEW)


def _at(ns: int) -> datetime:
    """The instant, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)
