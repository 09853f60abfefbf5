"""Facts: what a mapped span says of its trace, kept with the span's row."""

from collections.abc import Mapping
from dataclasses import field

from domain.frozen_by_types import frozen_by_types
from domain.tracing.span import Span


@frozen_by_types(kw_only=True)
class SpanFacts:
    """The inputs of the computed trace, beyond the columns of its spans (otel/trace_state.py).

    `hex_id` are the 16 hex digits of the span. `parent_is_remote`: the caller is in another
    process. `trace_input` and `trace_output` are JSON that the sender names for the whole trace;
    `trace_metadata` are the members it names for the trace, each as JSON text;
    `sender_metadata` are the span's own members, each as JSON text, which become the trace's if
    the span is its root. `has_user_message` and `has_assistant_message`: it is an LLM span whose
    input, or output, has a message that otel/last_message.py finds.
    `buckets` is the number of known ones of input, output, cache read, cache write and reasoning
    tokens. `is_setup`: it only creates an agent. `service` is `service.name`.
    `made_up_session`: the session is a conversation id that the library may have made up
    (pydantic-ai): it is ignored if it is a UUIDv7 of the time when the run began.
    `native_names` are the fields of the span that native writes changed, and `native_metadata` the
    members of its metadata: they stay when the span is mapped again.
    `is_claude_request`: a span that takes log records of Claude Code by time. `tool_use_id` is the
    id of the call by which a TOOL span takes a log record of its result. `won_keys` has the
    attribute that gave the value, per target of the mapping's rules.
    """

    hex_id: str
    start_ns: int
    end_ns: int = 0
    parent_is_remote: bool | None = None
    is_start_only: bool = False
    is_app_root: bool = False
    is_setup: bool = False
    is_claude_request: bool = False
    tool_use_id: str | None = None
    trace_name: str | None = None
    trace_input: str | None = None
    trace_output: str | None = None
    session_id: str | None = None
    made_up_session: bool = False
    user_id: str | None = None
    environment: str | None = None
    release: str | None = None
    service: str | None = None
    tags: tuple[str, ...] = ()
    trace_metadata: Mapping[str, str] = field(default_factory=dict)
    sender_metadata: Mapping[str, str] = field(default_factory=dict)
    response_id: str | None = None
    buckets: int = 0
    has_stated_cost: bool = False
    has_user_message: bool = False
    has_assistant_message: bool = False
    native_names: tuple[str, ...] = ()
    native_metadata: tuple[str, ...] = ()
    mapping_version: int = 0
    won_keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_edited(self) -> bool:
        """Whether a native write changed the span."""
        return bool(self.native_names or self.native_metadata)


@frozen_by_types()
class MappedSpan:
    """A span in the form of the domain, not settled, and what it says of its trace.

    The metadata of the span has the reserved key `otel`; `usage_role` isn't in it yet, because it
    depends on the whole tree.
    """

    span: Span
    facts: SpanFacts
