"""The tree of spans and the labels of steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import Span
from domain.tracing.spans.span_tree import LEVELS_MAX, SpanTree, labelled_spans
from tests.support.builders.values import at, span, span_id


def tree(parents: dict[str, str]) -> dict[str, str]:
    """Return labels by name for spans that start in this order; `?` is an unknown parent."""
    ids = {name: span_id() for name in [*parents, "?"]}
    spans = [
        span(id=ids[name], name=name, started_at=at(n), parent_id=ids.get(parent))
        for n, (name, parent) in enumerate(parents.items())
    ]
    return {spans[index].name: label for index, label in SpanTree.from_spans(spans).labelled()}


@pytest.mark.parametrize(
    ("parents", "labels"),
    [
        ({"a": "", "b": "a", "c": "a", "d": ""}, {"a": "s1", "b": "s1.1", "c": "s1.2", "d": "s2"}),
        ({"a": "", "b": "", "c": "a"}, {"a": "s1", "c": "s1.1", "b": "s2"}),
        ({"a": "b", "b": ""}, {"b": "s1", "a": "s1.1"}),
        ({"a": "?"}, {"a": "s1"}),
        ({"a": "a"}, {"a": "s1"}),
        ({"a": "b", "b": "a"}, {"a": "s1", "b": "s1.1"}),
        ({"a": "b", "b": "c", "c": "b"}, {"b": "s1", "a": "s1.1", "c": "s1.2"}),
        ({"a": "c", "b": "a", "c": "b"}, {"a": "s1", "b": "s1.1", "c": "s1.1.1"}),
        ({"a": "c", "b": "d", "c": "b", "d": "c"}, {"b": "s1", "c": "s1.1", "a": "s1.1.1"}),
    ],
)
def test_orphans_are_roots_and_cycles_are_cut_at_their_earliest_span(parents, labels):
    assert tree(parents).items() >= labels.items()
    assert tree(parents).keys() == parents.keys()


@given(st.lists(st.integers(-1, 9), min_size=1, max_size=10))
def test_every_span_has_one_label_for_any_parents(parents):
    ids = [span_id() for _ in range(10)]
    spans = [
        Span(id=ids[n], name="x", started_at=at(n), parent_id=ids[parent] if parent >= 0 else None)
        for n, parent in enumerate(parents)
    ]
    labelled = SpanTree.from_spans(spans).labelled()
    assert sorted(index for index, _ in labelled) == list(range(len(spans)))
    assert len({label for _, label in labelled}) == len(spans)
    position = {index: n for n, (index, _) in enumerate(labelled)}
    label = dict(labelled)
    for index, children in SpanTree.from_spans(spans).children.items():
        assert all(position[index] < position[child] for child in children)
        assert all(label[child].rpartition(".")[0] == label[index] for child in children) or (
            label[index].count(".") >= LEVELS_MAX - 2
        )


@pytest.mark.parametrize("kind", ["chain", "ring", "comb"])
def test_chain_of_20_000_spans_has_short_labels(kind):
    count = 20_000
    ids = [span_id() for _ in range(count)]
    parents = {
        "chain": lambda n: ids[n - 1] if n else None,
        "ring": lambda n: ids[n - 1],
        "comb": lambda n: ids[n - 1 - n % 2] if n else None,
    }[kind]
    spans = [
        Span(id=ids[n], name="x", started_at=at(n), parent_id=parents(n)) for n in range(count)
    ]
    labelled = SpanTree.from_spans(spans).labelled()
    assert len({label for _, label in labelled}) == count
    assert max(len(label) for _, label in labelled) < 60


@given(st.permutations(["x", "y", "z"]))
def test_labels_do_not_depend_on_ids(names):
    spans = [span(id=span_id(), name=name, started_at=at(1)) for name in names]
    assert [(label, one.name) for label, one in labelled_spans(spans)] == [
        ("s1", "x"), ("s2", "y"), ("s3", "z")
    ]  # fmt: skip
