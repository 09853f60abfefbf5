"""Prices set by a project, and their precedence."""

import gc
import re
import uuid
from decimal import Decimal

import pytest

from domain.errors import Invalid
from domain.pricing.model_price import (
    PATTERNS_CACHED,
    ModelPrice,
    _compiled,
    matches_model,
    pricing_of,
)
from domain.tracing.usage import Price, Usage
from tests.support.builders.values import OURS, at

MILLION = Usage(1_000_000, 0, is_known=True)
OTHERWISE = Price(Decimal(99), "book")


def a_price(match="m", input=1, **said):  # noqa: A002 - as the price calls it
    return ModelPrice(
        **{
            "id": uuid.uuid4(),
            "project_id": OURS,
            "match": match,
            "input": Decimal(input),
            "output": Decimal(2),
            "created_at": at(0),
        }
        | said
    )


def cost(prices, model="m", usage=MILLION, seconds=0):
    return pricing_of(prices, lambda *_: OTHERWISE)(model, usage, at(seconds)).amount


def test_newest_matching_price_is_used():
    older, newer = a_price(input=1), a_price(input=2, created_at=at(1))
    assert cost([older, newer]) == cost([newer, older]) == 2
    lesser, greater = (a_price(input=n, id=uuid.UUID(int=n)) for n in (3, 4))  # of one instant
    assert cost([lesser, greater]) == cost([greater, lesser]) == 4


def test_price_outside_its_validity_is_skipped():
    always = a_price(input=1)
    for_a_while = a_price(input=2, created_at=at(1), effective_from=at(0), effective_to=at(9))
    found = [cost([always, for_a_while], seconds=second) for second in (-1, 0, 8.999999, 9)]
    assert found == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("match", "model", "is_meant"),
    [
        ("our-*", "our-model", True),
        ("OUR-*", " Our-Model ", True),
        ("gpt-4?", "azure/gpt-4o", True),
        ("azure/*", "azure/gpt-4o", True),
        ("azure/*", "gpt-4o", False),
        ("gpt-4", "gpt-4o", False),
        ("a.c", "abc", False),
        ("claude-opus-4-1[1m]", "anthropic/claude-opus-4-1[1m]", True),
        ("claude-*[1m]", "claude-opus-4-1[1m]", True),
        ("claude-opus-4-1[1m]", "claude-opus-4-1m", False),
        ("[!a]", "b", False),
        (" our-model ", "our-model ", True),
    ],
)
def test_pattern_matches_with_and_without_provider(match, model, is_meant):
    assert (cost([a_price(match)], model) == 1) is is_meant


def test_unmatched_models_use_the_general_prices():
    assert cost([a_price("other")]) == cost([]) == 99


def test_cache_tokens_use_their_own_or_the_prompt_rate():
    usage = Usage(
        1_000_000, 0, is_known=True, cache_read_tokens=500_000, cache_write_tokens=250_000
    )
    assert cost([a_price(input=4)], usage=usage) == 4
    rates = {"cache_read": Decimal(0), "cache_write": Decimal(8)}
    assert cost([a_price(input=4, **rates)], usage=usage) == 3


def test_price_version_contains_its_id():
    one = a_price(effective_from=at(-1))
    found = pricing_of([one], lambda *_: None)("m", MILLION, at(0))
    assert found == Price(Decimal(1), f"project {one.id}", at(-1))


@pytest.mark.parametrize("until", [0, -1])
def test_price_must_end_after_it_begins(until):
    with pytest.raises(Invalid, match="Validation"):
        a_price(effective_from=at(0), effective_to=at(until))


def compiled_patterns() -> int:
    return sum(isinstance(one, re.Pattern) for one in gc.get_objects())


def test_patterns_of_many_projects_are_not_all_kept():
    """The cache is the only one that keeps them: `fnmatch` and `re` have caches of their own."""
    before = compiled_patterns()
    for number in range(20):
        assert not matches_model(f"model-{number}-*", "another")
    assert compiled_patterns() - before == 20
    _compiled.cache_clear()
    re.purge()
    assert compiled_patterns() <= before
    assert _compiled.cache_parameters()["maxsize"] == PATTERNS_CACHED
