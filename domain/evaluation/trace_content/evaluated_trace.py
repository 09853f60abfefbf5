"""A trace as metrics read it, with earlier outputs of its session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from domain.evaluation.trace_content.messages import MessageText, decode_json, last_message_text
from domain.evaluation.trace_content.tool_calls import DeclaredTool, ToolCall, declared_tools
from domain.tracing.messages.message_blocks import ASSISTANT, USER
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, SpanKind
from domain.tracing.spans.span_tree import SpanTree
from domain.tracing.trace import Trace, TraceStatus, in_order
from domain.tracing.usage import UsageRole

RECENT_OUTPUTS_MAX: Final = 3  # earlier outputs of the session that an output is compared with
_RUNS: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})


@dataclass(frozen=True)  # no slots: `cached_property` needs an instance dict
class EvaluatedTrace:
    """A settled trace that is evaluated.

    `earlier_outputs` are the final output texts of the preceding traces of the session, by
    (started_at, id), the latest last. Only the last RECENT_OUTPUTS_MAX of them are used. Empty if
    the trace has no session or is the first of it. `expected` is what the item of a dataset
    expects, if the trace is the result of an experiment; None also if it expects nothing.
    """

    trace: Trace
    earlier_outputs: Sequence[str] = ()
    expected: JsonText | None = None

    @cached_property
    def spans(self) -> Sequence[Span]:
        return in_order(self.trace.spans)

    @cached_property
    def tree(self) -> SpanTree:
        return SpanTree.from_spans(self.spans)

    @cached_property
    def tool_calls(self) -> Sequence[ToolCall]:
        """The tool calls, by (started_at, span id)."""
        return [ToolCall.from_span(span) for span in self.spans if span.kind is SpanKind.TOOL]

    @cached_property
    def model_calls(self) -> Sequence[Span]:
        """The model calls, by (started_at, span id), without second reports of the same call."""
        return [
            span
            for span in self.spans
            if span.kind is SpanKind.LLM and span.usage_role is not UsageRole.DUPLICATE
        ]

    @cached_property
    def declared_tools(self) -> Mapping[str, DeclaredTool]:
        return declared_tools(self.spans, self.trace.metadata)

    @cached_property
    def request(self) -> MessageText:
        """What the user asked: the input, or a chat's last user message."""
        text = self.trace.input or (self._whole.input if self._whole else None)
        return last_message_text(USER, decode_json(text))

    @cached_property
    def answer(self) -> MessageText:
        """What the agent answered: the output, or a chat's last assistant message."""
        text = self.trace.output or (self._whole.output if self._whole else None)
        return last_message_text(ASSISTANT, decode_json(text))

    @property
    def recent_outputs(self) -> Sequence[str]:
        return self.earlier_outputs[-RECENT_OUTPUTS_MAX:]

    @property
    def is_running(self) -> bool:
        return self.trace.status in {TraceStatus.PENDING, TraceStatus.RUNNING}

    @property
    def _whole(self) -> Span | None:
        """The single root span that stands for the run, if only spans carry payloads.

        A tool or model call at the root doesn't count: its output isn't an answer to the user.
        """
        roots = [self.spans[at] for at in self.tree.roots]
        return roots[0] if len(roots) == 1 and roots[0].kind in _RUNS else None


def final_output_text(trace: Trace) -> str:
    """The text of a trace's final output, in the form that `earlier_outputs` holds."""
    return EvaluatedTrace(trace).answer.text
