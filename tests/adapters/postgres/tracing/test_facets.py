"""Search terms of spans: what the process keeps of the names that senders choose."""

import weakref
from uuid import uuid4

from adapters.postgres.tracing.rollups.facets import SPAN_TERMS_MAX, terms_of_spans
from domain.ids import ProjectId
from tests.support.builders.values import span


class _Name(str):
    """A text that a test can watch: a plain one has no weak references."""

    __slots__ = ("__weakref__",)


def kept(names: list[_Name]) -> int:
    """How many of the names are still referenced, after the terms of a trace with them."""
    terms_of_spans(ProjectId(uuid4()), [span(name=name) for name in names])
    watched = [weakref.ref(name) for name in names]
    names.clear()
    return sum(one() is not None for one in watched)


def test_names_of_usual_traces_are_cached():
    assert kept([_Name(f"step {n}") for n in range(5)]) == 5


def test_names_of_traces_with_many_are_not_cached():
    """A process would keep gigabytes, if the names have ids."""
    assert kept([_Name(f"step {uuid4()}") for _ in range(SPAN_TERMS_MAX)]) == 0
