"""Contract of RegexEngine, run against every adapter: there is one."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.re2_patterns import Re2Engine
from domain.errors import Invalid
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX

texts = st.text(max_size=50)


@pytest.fixture(scope="module")
def regex():
    return Re2Engine()


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
def test_a_pattern_is_found_anywhere(regex, pattern, text, is_there):
    regex.check(pattern)
    assert regex.search(pattern, text) is is_there


@pytest.mark.parametrize(
    "pattern",
    ["(", "a(?=b)", r"(a)\1", "[z-a]", "a{1001}", "x" * (PATTERN_MAX + 1), "((a{100}){100}){100}"],
)
def test_what_is_no_pattern_is_refused_in_words(regex, pattern):
    with pytest.raises(Invalid) as refused:
        regex.check(pattern)
    assert refused.value.message


def test_what_is_no_pattern_is_found_nowhere(regex):
    assert not regex.search("(", "(")


def test_a_pattern_that_would_take_for_ever_elsewhere_is_looked_for_at_once(regex):
    assert not regex.search(r"(a+)+(a|aa)+$", "a" * 50_000 + "b")


def test_of_a_long_text_the_beginning_is_looked_at(regex):
    assert regex.search("end", "x" * (TEXT_MAX - 3) + "end")
    assert not regex.search("end", "x" * (TEXT_MAX - 2) + "end")


def test_half_a_character_is_no_fault(regex):
    assert regex.search("b", "a\ud800b")
    assert not regex.search("\ud800", "a")


@given(st.from_regex(r"\A[a-z ]{1,20}\Z"), texts)
def test_a_plain_word_is_found_where_it_is(word, text):
    assert Re2Engine().search(word, text) is (word in text)


def test_threads_may_look_at_once(regex):
    found: list[bool] = []

    def look(number: int) -> None:
        found.extend(regex.search(f"w{one}$", f"w{one}") for one in range(number, number + 300))

    threads = [threading.Thread(target=look, args=(100 * n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 1_200
