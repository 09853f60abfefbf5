"""A trace as metrics read it, with the tree of its spans and earlier outputs of its session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from domain.evaluation.trace_content.messages import MessageText, decode_json, last_message_text
from domain.evaluation.trace_content.tool_calls import DeclaredTool, ToolCall, declared_tools
from domain.tracing.message_blocks import ASSISTANT, USER
from domain.tracing.span import Span, SpanKind
from domain.tracing.trace import Trace, TraceStatus, in_order
from domain.tracing.usage import UsageRole

RECENT_OUTPUTS_MAX: Final = 3  # earlier outputs of the session that an output is compared with
_RUNS: Final = frozenset({SpanKind.AGENT, SpanKind.CHAIN})
LEVELS_MAX: Final = 8  # of a label; deeper spans are numbered under the last level


@dataclass(frozen=True, slots=True)
class SpanTree:
    """The tree as indexes into spans that are sorted by (started_at, id).

    A span without a known parent is a root. A cycle is cut at its earliest span, which becomes a
    root. So every span is reachable from exactly one root.
    """

    roots: Sequence[int]
    children: Mapping[int, Sequence[int]]

    @classmethod
    def from_spans(cls, spans: Sequence[Span]) -> Self:
        at = {span.id: index for index, span in enumerate(spans)}
        named = (span.parent_id for span in spans)
        parents = _uncycled([None if one is None else at.get(one) for one in named])
        children: dict[int, list[int]] = {}
        for index, parent in enumerate(parents):
            if parent is not None:
                children.setdefault(parent, []).append(index)
        return cls([index for index, parent in enumerate(parents) if parent is None], children)

    def labelled(self) -> Sequence[tuple[int, str]]:
        """Every index with its label, parents before children: `s1`, `s1.1`, `s1.1.1`, `s2`.

        Labels have at most LEVELS_MAX levels: for a chain of 20,000 spans, full labels would take
        800 MB.
        """
        found: list[tuple[int, str]] = []
        given: dict[str, int] = {}  # number of labels directly below each label
        left = [(index, "s", 0) for index in reversed(self.roots)]
        while left:
            index, above, level = left.pop()
            given[above] = number = given.get(above, 0) + 1
            label = f"s{number}" if above == "s" else f"{above}.{number}"
            found.append((index, label))
            below, deeper = (label, level + 1) if level + 1 < LEVELS_MAX else (above, level)
            left.extend((child, below, deeper) for child in reversed(self.children.get(index, ())))
        return found


def _uncycled(parents: Sequence[int | None]) -> list[int | None]:
    """The same parents, but None for the first index of every cycle."""
    cut = list(parents)
    seen = [0] * len(cut)  # the number of the walk that visited an index, from 1
    for start in range(len(cut)):
        at: int | None = start
        while at is not None and not seen[at]:
            seen[at] = start + 1
            at = cut[at]
        if at is not None and seen[at] == start + 1:  # a cycle within this walk
            first, walk = at, cut[at]
            while walk is not None and walk != at:
                first, walk = min(first, walk), cut[walk]
            cut[first] = None
    return cut


@dataclass(frozen=True)  # no slots: `cached_property` needs an instance dict
class EvaluatedTrace:
    """A settled trace that is evaluated.

    `earlier_outputs` are the final output texts of the preceding traces of the session, by
    (started_at, id), the latest last. Only the last RECENT_OUTPUTS_MAX of them are used. Empty if
    the trace has no session or is the first of it.
    """

    trace: Trace
    earlier_outputs: Sequence[str] = ()

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
