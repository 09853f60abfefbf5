"""Which spans of a trace repeat the usage of others: one model call is often reported by several.

A span with a role keeps its tokens and cost, and sums leave them out.
"""

from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from domain.ids import SpanId
from domain.tracing.otel.trace_state import SpanNode, start_order
from domain.tracing.span import SpanKind
from domain.tracing.usage import UsageRole

_MODEL_KINDS: Final = frozenset({SpanKind.LLM, SpanKind.EMBEDDING})
_ACTOR_KINDS: Final = frozenset({SpanKind.TOOL, SpanKind.AGENT})
_SEVERAL: Final = ""
"""Stands for responses of more than one id, or of an unknown one: these differ from any other."""


def usage_roles(nodes: Sequence[SpanNode]) -> dict[SpanId, UsageRole]:
    """The roles of the spans that have one, decided from the whole known tree.

    Takes linear time, for any parents: missing ones, cycles, long chains.
    """
    # Lists, since each attribute of a node that is read costs time, in traces of many spans.
    kinds = [node.span.kind for node in nodes]
    responses = [node.facts.response_id or _SEVERAL for node in nodes]
    has_usage = list(map(_has_usage, nodes))
    duplicates = _duplicates(nodes, kinds, responses)
    parents = _parents(nodes)
    # Whether a span with usage is below each span; and the response ids of the model spans with
    # usage below it, without a TOOL or AGENT between.
    usage_below = [False] * len(nodes)
    responses_below: list[str | None] = [None] * len(nodes)
    rollups: set[int] = set()
    for index in _leaves_first(nodes, parents):
        kind, uses, below = kinds[index], has_usage[index], responses_below[index]
        if kind in _MODEL_KINDS:
            response = responses[index]
            if below is not None and (below == _SEVERAL or below != response):
                rollups.add(index)
            if uses:
                below = _combined(below, response)
        elif uses and usage_below[index]:
            rollups.add(index)
        if (parent := parents[index]) is not None:
            if uses or usage_below[index]:
                usage_below[parent] = True
            if below is not None and kind not in _ACTOR_KINDS:
                responses_below[parent] = _combined(responses_below[parent], below)
    roles = {nodes[index].span.id: UsageRole.ROLLUP for index in rollups - duplicates}
    return roles | {nodes[index].span.id: UsageRole.DUPLICATE for index in duplicates}


def _has_usage(node: SpanNode) -> bool:
    usage = node.span.usage
    return node.facts.has_stated_cost or (
        usage is not None and (usage.prompt_tokens > 0 or usage.completion_tokens > 0)
    )


def _combined(known: str | None, other: str) -> str:
    return other if known is None or known == other else _SEVERAL


def _duplicates(
    nodes: Sequence[SpanNode], kinds: Sequence[SpanKind | None], responses: Sequence[str]
) -> set[int]:
    """The model spans whose response another span reports better."""
    by_response: dict[str, list[int]] = {}
    for index, response in enumerate(responses):
        if response != _SEVERAL and kinds[index] in _MODEL_KINDS:
            by_response.setdefault(response, []).append(index)
    duplicates: set[int] = set()
    for indexes in by_response.values():
        if len(indexes) > 1:
            best = max(indexes, key=lambda index: _knowledge(nodes[index]))
            duplicates.update(index for index in indexes if index != best)
    return duplicates


def _knowledge(node: SpanNode) -> tuple[int, bool, bool, tuple[int, str]]:
    facts = node.facts
    return facts.buckets, node.has_output, facts.has_stated_cost, start_order(node)


def _parents(nodes: Sequence[SpanNode]) -> list[int | None]:
    """The index of each span's parent; None if it is unknown."""
    # Hashing a UUID is slow, and a trace may have thousands of spans.
    indexes = dict(zip(map(attrgetter("span.id.int"), nodes), range(len(nodes)), strict=True))
    return [
        None if (parent := node.span.parent_id) is None else indexes.get(parent.int)
        for node in nodes
    ]


def _leaves_first(nodes: Sequence[SpanNode], parents: list[int | None]) -> Sequence[int]:
    """Each span after all below it.

    Cuts each cycle in `parents` at its first span, which is then above the others of the cycle.
    """
    open_children = [0] * len(nodes)
    for parent in parents:
        if parent is not None:
            open_children[parent] += 1
    passed = [index for index, count in enumerate(open_children) if count == 0]
    _pass_upwards(passed, parents, open_children, start=0)
    if (start := len(passed)) < len(nodes):  # only cycles are left
        for top in _cycle_tops(nodes, parents, open_children):
            above = parents[top]
            parents[top] = None
            if above is not None:
                open_children[above] -= 1
                passed.append(above)
        _pass_upwards(passed, parents, open_children, start=start)
    return passed


def _pass_upwards(
    passed: list[int], parents: Sequence[int | None], open_children: list[int], *, start: int
) -> None:
    """Appends each span once all below it have passed; `passed` is read as it grows."""
    for index in islice(passed, start, None):
        if (parent := parents[index]) is not None:
            open_children[parent] -= 1
            if open_children[parent] == 0:
                passed.append(parent)


def _cycle_tops(
    nodes: Sequence[SpanNode], parents: Sequence[int | None], open_children: Sequence[int]
) -> list[int]:
    """The first span of each cycle. A span is on a cycle if it still has an open child."""
    tops: list[int] = []
    seen: set[int] = set()
    for start, count in enumerate(open_children):
        if count == 0 or start in seen:
            continue
        cycle: list[int] = []
        index: int | None = start
        while index is not None and index not in seen:
            seen.add(index)
            cycle.append(index)
            index = parents[index]
        tops.append(min(cycle, key=lambda one: start_order(nodes[one])))
    return tops
