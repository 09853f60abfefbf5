"""What a measure reads: a trace, looked into once, and the outputs of its session before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from domain.evaluation.trace_content.messages import ASSISTANT, USER, Said, said_by, value_of
from domain.evaluation.trace_content.span_tree import Tree
from domain.evaluation.trace_content.tool_calls import Call, DeclaredTool, declared_tools
from domain.tracing.payload import JsonText
from domain.tracing.span import Span, SpanKind
from domain.tracing.trace import Trace, TraceStatus, in_order

WINDOW: Final = 3  # earlier traces of the session that an output is compared with
_RUNS: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})


@dataclass(frozen=True)  # no slots: what was looked into is kept
class Subject:
    """A settled trace to measure.

    `earlier` are the texts of the final outputs of the traces before it in its session, by
    (started_at, id), the latest last; at most the last WINDOW are looked at. Empty where it has
    no session or is the first.
    """

    trace: Trace
    earlier: Sequence[str] = ()

    @cached_property
    def spans(self) -> Sequence[Span]:
        return in_order(self.trace.spans)

    @cached_property
    def tree(self) -> Tree:
        return Tree.of(self.spans)

    @cached_property
    def calls(self) -> Sequence[Call]:
        """The tool calls, by (started_at, span id)."""
        return [Call.of(span) for span in self.spans if span.kind is SpanKind.TOOL]

    @cached_property
    def models(self) -> Sequence[Span]:
        """The model calls, by (started_at, span id)."""
        return [span for span in self.spans if span.kind is SpanKind.LLM]

    @cached_property
    def declared(self) -> Mapping[str, DeclaredTool]:
        return declared_tools(self.spans)

    @cached_property
    def request(self) -> Said:
        """What was asked: the input, of a chat what the user said last."""
        return said_by(USER, value_of(self._first_input()))

    @cached_property
    def answer(self) -> Said:
        """What was answered: the output, of a chat what the assistant said last."""
        return said_by(ASSISTANT, value_of(self._last_output()))

    @property
    def window(self) -> Sequence[str]:
        return self.earlier[-WINDOW:]

    @property
    def is_running(self) -> bool:
        return self.trace.status in {TraceStatus.PENDING, TraceStatus.RUNNING}

    def _first_input(self) -> JsonText | None:
        return self.trace.input or (self._whole.input if self._whole else None)

    def _last_output(self) -> JsonText | None:
        return self.trace.output or (self._whole.output if self._whole else None)

    @property
    def _whole(self) -> Span | None:
        """The one span that stands for the run, where instrumentation gave only spans payloads.

        A tool or a model at the root doesn't: what it gives back is no answer to anybody.
        """
        roots = [self.spans[at] for at in self.tree.roots]
        return roots[0] if len(roots) == 1 and roots[0].kind in _RUNS else None


def answer_of(trace: Trace) -> str:
    """The text of a trace's final output, as `Subject.earlier` wants it of earlier traces."""
    return Subject(trace).answer.text
