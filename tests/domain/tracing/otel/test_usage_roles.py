"""Usage roles: each model call counts once, whatever instrumentations repeat it."""

import random
from collections.abc import Callable
from itertools import permutations
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import SpanId
from domain.tracing.otel.trace_state import SpanNode, compute_trace, start_order
from domain.tracing.otel.usage_roles import usage_roles
from domain.tracing.span import SpanKind
from domain.tracing.usage import UsageRole
from tests.support.builders.otel_nodes import TRACE, forests, node, roles_by_number

D, R = "duplicate", "rollup"
MODELS = {SpanKind.LLM, SpanKind.EMBEDDING}
ACTORS = {SpanKind.TOOL, SpanKind.AGENT}


# --- the cases of the contract -------------------------------------------------------------

CASES: dict[str, tuple[list[SpanNode], dict[int, str]]] = {
    "a call": ([node(1, None, "LLM", tokens=5)], {}),
    "a duplicate below its twin": (
        [
            node(1, None, "LLM", tokens=5, response="x", buckets=4),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
        ],
        {2: D},
    ),
    "a duplicate above its twin": (
        [
            node(1, None, "LLM", tokens=5, response="x", buckets=2),
            node(2, 1, "LLM", tokens=5, response="x", buckets=4),
        ],
        {1: D},
    ),
    "two siblings that are duplicates": (
        [
            node(1, None, "AGENT"),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
            node(3, 1, "LLM", tokens=5, response="x", buckets=4),
        ],
        {2: D},
    ),
    "a duplicate without tokens": (
        [node(1, None, "LLM", response="x"), node(2, 1, "LLM", tokens=5, response="x", buckets=2)],
        {1: D},
    ),
    "equal buckets: the twin with output": (
        [
            node(1, None, "LLM", tokens=5, response="x", has_output=True),
            node(2, 1, "LLM", tokens=5, response="x", has_stated_cost=True),
        ],
        {2: D},
    ),
    "equal output: the twin with a stated cost": (
        [
            node(1, None, "LLM", tokens=5, response="x", has_stated_cost=True),
            node(2, 1, "LLM", tokens=5, response="x"),
        ],
        {2: D},
    ),
    "equal knowledge: the later start": (
        [
            node(1, None, "LLM", tokens=5, response="x", start=0.3),
            node(2, 1, "LLM", tokens=5, response="x", start=0.2),
        ],
        {2: D},
    ),
    "equal start: the greater id": (
        [
            node(1, None, "LLM", tokens=5, response="x", start=0),
            node(2, 1, "LLM", tokens=5, response="x", start=0),
        ],
        {1: D},
    ),
    "three twins": (
        [node(1 + at, None, "LLM", tokens=5, response="x") for at in range(3)],
        {1: D, 2: D},
    ),
    "equal ids of spans that are no calls": (
        [
            node(1, None, "AGENT", tokens=5, response="x"),
            node(2, None, "CHAIN", tokens=5, response="x"),
        ],
        {},
    ),
    "empty response ids": (
        [
            node(1, None, "LLM", tokens=5, response=""),
            node(2, None, "LLM", tokens=5, response=""),
        ],
        {},
    ),
    "an embedding and a model call of one id": (
        [
            node(1, None, "LLM", tokens=5, response="x"),
            node(2, None, "EMBEDDING", tokens=5, response="x"),
        ],
        {1: D},
    ),
    "an agent that repeats the sum": (
        [
            node(1, None, "AGENT", tokens=10),
            node(2, 1, "LLM", tokens=5),
            node(3, 1, "LLM", tokens=5),
        ],
        {1: R},
    ),
    "an agent whose calls have no usage": (
        [node(1, None, "AGENT", tokens=10), node(2, 1, "LLM"), node(3, 1, "LLM")],
        {},
    ),
    "an agent that states the cost": (
        [node(1, None, "AGENT", has_stated_cost=True), node(2, 1, "LLM", tokens=5)],
        {1: R},
    ),
    "an agent above a call with a cost only": (
        [node(1, None, "AGENT", tokens=5), node(2, 1, "LLM", has_stated_cost=True)],
        {1: R},
    ),
    "roll-ups over roll-ups": (
        [
            node(1, None, "CHAIN", tokens=10),
            node(2, 1, "AGENT", tokens=10),
            node(3, 2, "CHAIN"),
            node(4, 3, "LLM", tokens=10),
        ],
        {1: R, 2: R},
    ),
    "roll-ups over the lowest one, which is no model span": (
        [node(1, None, "CHAIN", tokens=10), node(2, 1, "AGENT", tokens=10)],
        {1: R},
    ),
    "a roll-up through a tool": (
        [
            node(1, None, "AGENT", tokens=10),
            node(2, 1, "TOOL"),
            node(3, 2, "AGENT", tokens=5),
            node(4, 3, "LLM", tokens=5),
        ],
        {1: R, 3: R},
    ),
    "a model span above another call, without ids": (
        [node(1, None, "LLM", tokens=5), node(2, 1, "LLM", tokens=5)],
        {1: R},
    ),
    "only the upper has an id": (
        [node(1, None, "LLM", tokens=5, response="x"), node(2, 1, "LLM", tokens=5)],
        {1: R},
    ),
    "only the lower has an id": (
        [node(1, None, "LLM", tokens=5), node(2, 1, "LLM", tokens=5, response="x")],
        {1: R},
    ),
    "ids that differ": (
        [
            node(1, None, "LLM", tokens=5, response="x"),
            node(2, 1, "LLM", tokens=5, response="y"),
        ],
        {1: R},
    ),
    "a model span without usage above one with usage": (
        [node(1, None, "LLM"), node(2, 1, "LLM", tokens=5)],
        {1: R},
    ),
    "a model span above one without usage": (
        [node(1, None, "LLM", tokens=5), node(2, 1, "LLM")],
        {},
    ),
    "a model span through a chain": (
        [node(1, None, "LLM", tokens=5), node(2, 1, "CHAIN"), node(3, 2, "EMBEDDING", tokens=5)],
        {1: R},
    ),
    "a model span above a tool that calls a model": (
        [node(1, None, "LLM", tokens=5), node(2, 1, "TOOL"), node(3, 2, "LLM", tokens=5)],
        {},
    ),
    "a model span above a sub-agent with its sum": (
        [
            node(1, None, "LLM", tokens=5),
            node(2, 1, "CHAIN"),
            node(3, 2, "AGENT", tokens=5),
            node(4, 3, "LLM", tokens=5),
        ],
        {3: R},
    ),
    "twins in a model span without an id": (
        [
            node(1, None, "LLM", tokens=5),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
            node(3, 1, "LLM", tokens=5, response="x", buckets=4),
        ],
        {1: R, 2: D},
    ),
    "a duplicate in the middle": (
        [
            node(1, None, "LLM", tokens=5, response="x", buckets=4),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
            node(3, 2, "LLM", tokens=5),
        ],
        {1: R, 2: D},
    ),
    # Rule 1 is decided before rule 3, as the contract words it: of this response nothing counts.
    "a roll-up that knows most of a response below it": (
        [
            node(1, None, "LLM", tokens=10, response="x", buckets=4),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
            node(3, 1, "LLM", tokens=5, response="y"),
        ],
        {1: R, 2: D},
    ),
    "a roll-up that knows less of a response below it": (
        [
            node(1, None, "LLM", tokens=10, response="x", buckets=2),
            node(2, 1, "LLM", tokens=5, response="x", buckets=4),
            node(3, 1, "LLM", tokens=5, response="y"),
        ],
        {1: D},
    ),
    "an agent that repeats a response, which isn't a model span": (
        [
            node(1, None, "AGENT", tokens=10, response="x", buckets=4),
            node(2, 1, "LLM", tokens=5, response="x", buckets=2),
        ],
        {1: R},
    ),
    "an agent above a duplicate whose twin is elsewhere": (
        [
            node(1, None, "CHAIN"),
            node(2, 1, "AGENT", tokens=5),
            node(3, 2, "LLM", tokens=5, response="x", buckets=2),
            node(4, 1, "LLM", tokens=5, response="x", buckets=4),
        ],
        {2: R, 3: D},
    ),
    "a missing parent": (
        [node(1, None, "AGENT", tokens=5), node(3, 2, "LLM", tokens=5)],
        {},
    ),
    "its own parent": ([node(1, 1, "LLM", tokens=5)], {}),
    "a cycle is cut at its first span": (
        [node(1, 3, "AGENT", tokens=5), node(2, 1, "CHAIN"), node(3, 2, "LLM", tokens=5)],
        {1: R},
    ),
    "two cycles with a branch": (
        [
            node(1, 2, "CHAIN", tokens=5),
            node(2, 1, "CHAIN", tokens=5),
            node(3, 4, "CHAIN", tokens=5),
            node(4, 3, "CHAIN"),
            node(5, 4, "LLM", tokens=5),
        ],
        {1: R, 3: R},
    ),
}


@pytest.mark.parametrize(("nodes", "expected"), CASES.values(), ids=CASES.keys())
def test_roles_of_the_contract_in_any_order(
    nodes: list[SpanNode], expected: dict[int, str]
) -> None:
    for order in map(list, permutations(nodes)):
        assert roles_by_number(usage_roles(order), order) == expected


# --- each call counts once -----------------------------------------------------------------


class Program:
    """Draws what a program does, and the spans in which instrumentations report it.

    `calls` are the tokens of each model call that was made.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.nodes: list[SpanNode] = []
        self.calls: list[int] = []

    def add(self, parent: int | None, kind: str, **said: Any) -> int:
        number = len(self.nodes) + 1
        start = self.draw(st.integers(0, 20))
        self.nodes.append(node(number, parent, kind, start=start, **said))
        return number

    def step(self, parent: int | None, depth: int) -> None:
        """An agent, chain or tool, which may repeat the sum of the calls below."""
        kind = self.draw(st.sampled_from(["AGENT", "CHAIN", "TOOL", "OTHER", "RETRIEVER"]))
        number = self.add(parent, kind)
        made = len(self.calls)
        self.steps(number, depth)
        self.may_repeat(number, kind, sum(self.calls[made:]), always=False)

    def may_repeat(self, number: int, kind: str, tokens: int, *, always: bool) -> None:
        if tokens and (always or self.draw(st.booleans())):
            old = self.nodes[number - 1]
            parent = next(
                (at + 1 for at, one in enumerate(self.nodes) if one.span.id == old.span.parent_id),
                None,
            )
            self.nodes[number - 1] = node(number, parent, kind, tokens=tokens)

    def steps(self, parent: int | None, depth: int) -> None:
        for _ in range(self.draw(st.integers(0, 3))):
            if depth == 0 or self.draw(st.booleans()):
                self.call(parent, depth)
            else:
                self.step(parent, depth - 1)

    def call(self, parent: int | None, depth: int) -> None:
        """A model call: by one span, by twins, or below model spans of a framework."""
        tokens = 1 << len(self.calls)
        self.calls.append(tokens)
        kind = self.draw(st.sampled_from(["LLM", "EMBEDDING"]))
        top = parent
        for _ in range(self.draw(st.integers(0, 2))):  # a framework's span, with or without usage
            top = self.add(top, "LLM", tokens=self.draw(st.sampled_from([0, tokens])))
            if self.draw(st.booleans()):
                top = self.add(top, "CHAIN")
        response = self.draw(st.none() | st.just(f"response {tokens}"))
        number = self.add(top, kind, tokens=tokens, response=response, buckets=3)
        if response is not None:
            for _ in range(self.draw(st.integers(0, 2))):
                place = self.draw(st.sampled_from([top, number]))  # sibling, child
                less = {"tokens": self.draw(st.sampled_from([0, tokens, tokens + 1])), "buckets": 2}
                same = {"tokens": tokens, "buckets": 3}
                said = self.draw(st.sampled_from([less, same]))
                twin = self.add(place, "LLM", response=response, **said)
                number = self.draw(st.sampled_from([number, twin]))
        if depth and self.draw(st.booleans()):  # the model calls a tool, whose span is below
            tool = self.add(number, self.draw(st.sampled_from(["TOOL", "AGENT"])))
            self.steps(tool, depth - 1)

    def summary(self, parent: int | None) -> None:
        """A model span that repeats the sum of several calls, which have other ids."""
        number = self.add(parent, "LLM")
        made = len(self.calls)
        for _ in range(2):
            self.call(number, 0)
        self.may_repeat(number, "LLM", sum(self.calls[made:]), always=True)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    program = Program(draw)
    root = program.add(None, "AGENT")
    program.steps(root, 3)
    if draw(st.booleans()):
        program.summary(root)
    return program


@given(programs(), st.randoms(use_true_random=False))
def test_counted_usage_is_that_of_the_calls_made(program: Program, shuffle: random.Random) -> None:
    nodes = list(program.nodes)
    shuffle.shuffle(nodes)
    roles = usage_roles(nodes)
    counted = [one.span for one in nodes if one.span.id not in roles]
    tokens = [one.usage.prompt_tokens for one in counted if one.usage and one.usage.prompt_tokens]
    assert sorted(tokens) == program.calls


@given(programs())
def test_each_call_is_one_counted_model_span(program: Program) -> None:
    roles = usage_roles(program.nodes)
    models = [one for one in program.nodes if one.span.kind in MODELS]
    assert sum(one.span.id not in roles for one in models) == len(program.calls)


# --- any tree ------------------------------------------------------------------------------


def roles_by_definition(nodes: list[SpanNode]) -> dict[SpanId, UsageRole]:
    """The rules as the contract words them, in cubic time, for trees without cycles."""
    by_id = {one.span.id: one for one in nodes}

    def path_between(upper: SpanNode, lower: SpanNode) -> list[SpanNode] | None:
        between: list[SpanNode] = []
        one = lower
        while (parent := one.span.parent_id and by_id.get(one.span.parent_id)) is not None:
            if parent is upper:
                return between
            between.append(parent)
            one = parent
        return None

    def has_usage(one: SpanNode) -> bool:
        return one.facts.has_stated_cost or bool(one.span.usage and one.span.usage.prompt_tokens)

    def is_rollup(one: SpanNode) -> bool:
        for lower in nodes:
            between = path_between(one, lower)
            if between is None or not has_usage(lower):
                continue
            if one.span.kind not in MODELS:
                if has_usage(one):
                    return True
            elif (
                lower.span.kind in MODELS
                and (
                    lower.facts.response_id is None
                    or lower.facts.response_id != one.facts.response_id
                )
                and not any(step.span.kind in ACTORS for step in between)
            ):
                return True
        return False

    roles = {one.span.id: UsageRole.ROLLUP for one in nodes if is_rollup(one)}
    for one in nodes:
        twins = [
            other
            for other in nodes
            if other.span.kind in MODELS and other.facts.response_id == one.facts.response_id
        ]
        if one.facts.response_id and one.span.kind in MODELS:
            best = max(
                twins,
                key=lambda twin: (
                    twin.facts.buckets,
                    twin.has_output,
                    twin.facts.has_stated_cost,
                    *start_order(twin),
                ),
            )
            if best is not one:
                roles[one.span.id] = UsageRole.DUPLICATE
    return roles


@given(forests(may_cycle=False))
def test_roles_are_those_of_the_definition(nodes: list[SpanNode]) -> None:
    assert usage_roles(nodes) == roles_by_definition(nodes)


@given(forests(), st.randoms(use_true_random=False))
def test_roles_depend_on_the_set_only(nodes: list[SpanNode], shuffle: random.Random) -> None:
    shuffled = list(nodes)
    shuffle.shuffle(shuffled)
    assert usage_roles(shuffled) == usage_roles(nodes)


# --- large traces --------------------------------------------------------------------------

LARGE = 4_000
PARENTS = {
    "a chain": lambda number: number - 1 or None,
    "one root": lambda number: 1 if number > 1 else None,
    "a cycle": lambda number: number - 1 or LARGE,
    "missing parents": lambda number: LARGE + number,
    "their own parents": lambda number: number,
    "cycles of two": lambda number: ((number - 1) ^ 1) + 1,
    "a tree": lambda number: number // 2 or None,
}
QUICK = {"a chain", "a cycle"}  # in `make check`; all shapes take seconds


@pytest.mark.parametrize(
    "parent",
    [
        pytest.param(parent, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, parent in PARENTS.items()
    ],
)
def test_thousands_of_spans_take_little_time(parent: Callable[[int], int | None]) -> None:
    kinds = ["LLM", "CHAIN", "LLM", "OTHER"]
    nodes = [
        node(at, parent(at), kinds[at % 4], tokens=at % 3, response=f"r{at // 2}", tags=("t",))
        for at in range(1, LARGE + 1)
    ]
    random.Random(1).shuffle(nodes)
    for _ in range(3):
        began = process_time()
        usage_roles(nodes)
        compute_trace(TRACE, nodes)
        if process_time() - began < 0.25:  # about 16 ms; quadratic time would be ten seconds
            return
    pytest.fail("quadratic time")
