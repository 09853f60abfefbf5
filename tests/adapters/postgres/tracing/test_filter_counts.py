"""Bounds of the number of matching traces, from the counts of each condition alone."""

from hypothesis import given
from hypothesis import strategies as st

from adapters.postgres.database.statements.sql_builder import Sql
from adapters.postgres.tracing.trace_filters import Clause, ClauseCount, FilterCounts

CLAUSE = Clause(Sql("true"))


def counts_of(all_: int, clauses: list[set[int]], **fields: bool) -> FilterCounts:
    counted = [ClauseCount(CLAUSE, len(one), is_exact=True) for one in clauses]
    return FilterCounts(all_, counted, **fields)


@given(st.integers(1, 12).flatmap(
    lambda all_: st.tuples(st.just(all_), st.lists(st.sets(st.integers(0, all_ - 1)), max_size=4))
))  # fmt: skip
def test_matches_are_within_the_bounds(drawn: tuple[int, list[set[int]]]) -> None:
    all_, clauses = drawn
    matching = set(range(all_)).intersection(*clauses)
    found = counts_of(all_, clauses)
    assert found.least <= len(matching) <= found.most
    assert found.total in {None, len(matching)}


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=3), st.sets(st.integers(0, 9)))
def test_one_of_several_values_is_bounded_too(values: list[set[int]], other: set[int]) -> None:
    """As a filter by any of some tags, which traces may have together."""
    sizes = [len(one) for one in values]
    either = ClauseCount(CLAUSE, sum(sizes), is_exact=False, lower_bound=max(sizes))
    found = FilterCounts(10, [either, ClauseCount(CLAUSE, len(other), is_exact=True)])
    matching = set().union(*values) & other
    assert found.least <= len(matching) <= found.most


def test_nothing_is_certain_without_counts_or_during_an_erasure() -> None:
    unknown = ClauseCount(CLAUSE, None, is_exact=False)
    assert FilterCounts(10, [unknown]).least == 0
    assert counts_of(10, [set(range(10))] * 2, has_active_erasure=True).least == 0
    assert counts_of(10, [set(range(10))] * 2).least == 10
