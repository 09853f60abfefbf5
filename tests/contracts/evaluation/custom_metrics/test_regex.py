"""Contract of RegexEngine, run against its one adapter."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.re2_patterns import Re2Engine
from domain.errors import Invalid
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX, SearchTooLongError

texts = st.text(max_size=50)


# More states than RE2 keeps: it then takes thousands of steps for each character.
COSTLY = "(.{1,99}[ab]){9}z"


@pytest.fixture(scope="module")
def regex():
    return Re2Engine()


def search(regex, pattern, text):
    return regex.new_search()(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "is_there"),
    [
        ("gone", "it is gone now", True),
        ("^gone", "it is gone", False),
        (r"(?i)sorry|apolog(y|ies)", "My APOLOGIES!", True),
        (r"^\d{4}-\d\d$", "2026-03", True),
        (r"\bß\b", "ein ß hier", False),  # words are of ASCII in RE2
        ("^f.r$", "für", True),
        ("ü.", "für", True),
        ("a.b", "a\nb", False),
        ("", "", True),
    ],
)
def test_pattern_matches_anywhere_in_text(regex, pattern, text, is_there):
    regex.check(pattern)
    assert search(regex, pattern, text) is is_there


@pytest.mark.parametrize(
    "pattern",
    ["(", "a(?=b)", r"(a)\1", "[z-a]", "a{1001}", "x" * (PATTERN_MAX + 1), "((a{100}){100}){100}"],
)
def test_invalid_pattern_is_rejected_with_message(regex, pattern):
    with pytest.raises(Invalid) as refused:
        regex.check(pattern)
    assert refused.value.message


def test_invalid_pattern_matches_nothing(regex):
    assert not search(regex, "(", "(")


def test_pattern_with_catastrophic_backtracking_elsewhere_is_fast(regex):
    assert not search(regex, r"(a+)+(a|aa)+$", "a" * 50_000 + "b")


def test_search_ends_after_its_time():
    searching = Re2Engine(search_s_max=0.05).new_search()
    with pytest.raises(SearchTooLongError):
        any(searching(COSTLY, "abb" * 3_000) for _ in range(1_000))


def test_each_evaluation_has_the_whole_time():
    regex = Re2Engine(search_s_max=1e-9)
    assert not search(regex, COSTLY, "abb" * 100)
    assert not search(regex, COSTLY, "abb" * 100)


def test_only_beginning_of_long_text_is_searched(regex):
    assert search(regex, "end", "x" * (TEXT_MAX - 3) + "end")
    assert not search(regex, "end", "x" * (TEXT_MAX - 2) + "end")


def test_lone_surrogate_is_accepted(regex):
    assert search(regex, "b", "a\ud800b")
    assert not search(regex, "\ud800", "a")


@given(st.from_regex(r"\A[a-z ]{1,20}\Z"), texts)
def test_plain_word_is_found_where_it_occurs(word, text):
    assert search(Re2Engine(), word, text) is (word in text)


def test_search_is_thread_safe(regex):
    found: list[bool] = []

    def search_many(number: int) -> None:
        found.extend(search(regex, f"w{n}$", f"w{n}") for n in range(number, number + 300))

    threads = [threading.Thread(target=search_many, args=(100 * n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 1_200
