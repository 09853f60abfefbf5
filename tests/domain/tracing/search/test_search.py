"""Search: words of texts, queries, terms, matches and snippets."""

import json
import tracemalloc
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.tracing.search.search_match import (
    CHARS_BEFORE,
    MATCHES_MAX,
    SNIPPET_CHARS_MAX,
    find_matches,
    first_place,
    snippet,
)
from domain.tracing.search.search_query import (
    PREFIX_CHARS_MIN,
    QUERY_CHARS_MAX,
    QUERY_WORDS_MAX,
    SearchQuery,
    SearchTerm,
)
from domain.tracing.search.search_terms import (
    INDEXED_CHARS_MAX,
    LOOKED_UP_MAX,
    TERMS_MAX,
    WORD_CHARS_MAX,
    query_terms,
    trace_terms,
)
from domain.tracing.search.search_texts import BASE64_CHARS_MIN, NESTED_TEXTS_MAX, payload_texts
from domain.tracing.search.search_within import find_within
from domain.tracing.search.search_words import (
    LONG_FORMS_MAX,
    WordSequence,
    folded,
    is_unspaced,
    normalized,
    words_of,
)
from tests.support.builders.values import span, trace

# Few characters of many kinds, so that words meet: letters, digits, marks, scripts with and without
# spaces, ligatures, characters that folding makes longer, separators, lone surrogates.
CHARACTERS = 'ab1_ -."\\\n\u0301ßŉ\ufb01İÅé東京ター.・ขั서हिंｱﾞ\u200d\ufe0f😀\ud800'
texts = st.text(st.sampled_from(CHARACTERS), max_size=12) | st.text(max_size=8)
some_words = st.lists(
    st.builds(words_of, texts.map(folded)).filter(bool).map(lambda words: words[0]),
    min_size=1, max_size=3,
)  # fmt: skip


def naive(text: str, words: Sequence[str], *, is_prefix: bool) -> bool:
    """Whether the words follow each other in the list of all words."""
    known, count = words_of(text), len(words)
    for at in range(len(known) - count + 1):
        *before, last = known[at : at + count]
        is_last = last.startswith(words[-1]) if is_prefix else last == words[-1]
        if before == list(words[:-1]) and is_last:
            return True
    return False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("get_weather(city: 'Paris')", ["get", "weather", "city", "paris"]),
        ("Straße ﬁne Ｆｕｌｌ", ["strasse", "fine", "full"]),
        ("12.50€ v2", ["12", "50", "v2"]),
        ("東京タワー is", ["東", "京", "タ", "ワ", "ー", "is"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("don't e\u0301tude", ["don", "t", "étude"]),
        ("❤\ufe0fabc", ["abc"]),
        ("--- … 😀", []),
    ],
)
def test_words_of_a_text(text, words):
    assert words_of(folded(text)) == words


def test_text_of_many_characters_with_long_forms_stays_as_it_is():
    """U+FDFA becomes 18 characters: a text of them would take a hundred times its body."""
    few, many = (
        f"ﬁne {long_form * LONG_FORMS_MAX} étude" for long_form in ("\ufdfa", "\ufdfa\u33af")
    )
    assert normalized(few).startswith("fine \u0635")
    assert normalized(many) == many
    assert find_matches(trace(name=many), SearchQuery.parse("étude")) is not None


@given(texts)
def test_words_are_parts_of_the_text_without_separators(text):
    same = folded(text)
    words, at = words_of(same), 0
    for word in words:
        at = same.index(word, at) + len(word)
        assert not any(c.isspace() or c == "_" for c in word)
        assert len(word) == 1 or not any(map(is_unspaced, word))
    letters = [c for c in same if c.isalnum()]
    assert [c for c in "".join(words) if c.isalnum()] == letters


@given(texts, texts)
def test_words_of_two_texts_are_those_of_each(text, other):
    both = words_of(f"{folded(text)} {folded(other)}")
    assert both == words_of(folded(text)) + words_of(folded(other))


@given(texts, some_words, st.booleans())
def test_sequences_are_found_as_in_the_list_of_all_words(text, words, is_prefix):
    same = folded(text)
    found = WordSequence(words, is_prefix=is_prefix).find(same)
    assert (found is not None) is naive(same, words, is_prefix=is_prefix)
    if found is not None:
        assert words_of(same[slice(*found)]) == words


@given(texts, texts, st.data())
def test_sequences_of_the_text_itself_are_found(text, other, data):
    same = folded(text + other)
    words = words_of(same)
    assume(words)
    start = data.draw(st.integers(0, len(words) - 1))
    some = words[start : start + data.draw(st.integers(1, 3))]
    assert WordSequence(some).find(same) is not None
    assert WordSequence([*some[:-1], some[-1][:1]], is_prefix=True).find(same) is not None


@pytest.mark.parametrize("blanks", [" ", "_-", "\u3000", " \u3000"])
def test_separators_between_words_take_no_memory(blanks):
    """A text is as long as a body may be, and mostly blank in a padded table."""
    text = f"a{blanks * 100_000}b"
    sequences = [WordSequence(words) for words in (["a", "b"], ["a", "c"])]
    assert [one.find("é a") for one in sequences] == [None, None]  # patterns are compiled once
    tracemalloc.start()
    try:
        found = [one.find(text) for one in sequences]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [(0, len(text)), None]
    assert peak < len(text)  # each repetition that can be taken back takes 100 bytes


def test_long_words_take_no_memory():
    text = "\u00e9" * 100_000
    assert words_of("\u00e9 a") == ["\u00e9", "a"]  # patterns are compiled once
    tracemalloc.start()
    try:
        found = words_of(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [text]
    assert peak < 4 * len(text)  # each repetition that can be taken back takes 60 bytes


class CountedText(str):
    """Counts the searches in a text."""

    __slots__ = ("searches",)

    def __init__(self, _: str) -> None:
        self.searches = 0

    def find(self, *given: Any) -> int:
        self.searches += 1
        return super().find(*given)


@pytest.mark.parametrize("word", ["aaa", "\u00e9\u00e9"])
def test_places_within_a_long_word_are_passed_over(word):
    text = CountedText(f"{word * 10_000} {word}")
    assert WordSequence([word]).find(text) == (len(text) - len(word), len(text))
    assert text.searches <= 3  # as many as there are words, and one more


@given(st.lists(texts, min_size=1, max_size=3), some_words, st.booleans(), st.booleans())
def test_terms_are_found_in_payloads_and_in_the_index(values, words, is_prefix, is_ascii):
    """Also in JSON within JSON, and whether characters are escaped or not."""
    values = [one.encode("utf-8", "replace").decode() for one in values]
    nested = json.dumps({"key": values[-1]}, ensure_ascii=is_ascii)
    payload = json.dumps([*values[:-1], nested], ensure_ascii=is_ascii).encode()
    one = trace(span(name="-", input=payload), name="-")
    is_prefix = is_prefix and (len(words[-1]) >= PREFIX_CHARS_MIN or is_unspaced(words[-1]))
    query = SearchQuery((SearchTerm(tuple(words), is_prefix),))
    matches = find_matches(one, query)
    expected = any(naive(folded(text), words, is_prefix=is_prefix) for text in values)
    assert (matches is not None) is expected
    if expected:
        assert set(query_terms(query)) <= trace_terms(one).terms


def test_index_has_few_terms_of_a_query_and_the_longest_words():
    query = SearchQuery.parse("a bb ccc dddd eeeee ffffff ggggggg hhhhhhhh")
    assert len(query_terms(query)) == LOOKED_UP_MAX
    one = trace(name="ccc dddd eeeee ffffff ggggggg hhhhhhhh")
    assert set(query_terms(query)) == trace_terms(one).terms & set(query_terms(query))


def test_long_word_is_in_the_index():
    word = "x" * (WORD_CHARS_MAX + 1)
    assert set(query_terms(SearchQuery.parse(word))) <= trace_terms(trace(name=word)).terms


@pytest.mark.parametrize(
    "text",
    [" ".join(f"{n:x}" for n in range(TERMS_MAX + 1)), "a " * (INDEXED_CHARS_MAX // 2 + 1)],
    ids=["words", "characters"],
)
def test_trace_with_too_many_terms_has_none(text):
    found = trace_terms(trace(input=json.dumps(text).encode()))
    assert (found.is_partial, found.terms) == (True, frozenset())


def in_json(text: str, levels: int) -> str:
    """A text within so many arrays in JSON."""
    return text if not levels else in_json(json.dumps([text]), levels - 1)


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'"one"', ["one"]),
        (b'{"key": ["one", {"k": 1.50, "k": "two"}, true, null, ""]}', ["one", "1.50", "two", ""]),
        (b'{"arguments": "{\\"city\\": \\"Z\\u00fcrich\\", \\"n\\": [12]}"}', ["Zürich", "12"]),
        (in_json("[1]", NESTED_TEXTS_MAX).encode(), ["1"]),
        (in_json("[1]", NESTED_TEXTS_MAX + 1).encode(), ["[1]"]),
        (b'"[see] the note"', ["[see] the note"]),
        (b"123456789012345678901234567890", ["123456789012345678901234567890"]),
        (b'["' + b"QUJD" * (BASE64_CHARS_MIN // 4) + b'", "text"]', ["text"]),
        (b'"data:image/png;base64,' + b"QUJD" * BASE64_CHARS_MIN + b'"', []),
        (b'"' + b"word " * BASE64_CHARS_MIN + b'"', ["word " * BASE64_CHARS_MIN]),
        # Comparing each of these line breaks with all that follow would take hours.
        pytest.param(
            b'"QUJD' + b"\\n" * 1_000_000 + b'!"',
            ["QUJD" + "\n" * 1_000_000 + "!"],
            id="line breaks after base64",
        ),
        (b"[" * 200_000 + b"]" * 200_000, ["[" * 200_000 + "]" * 200_000]),
    ],
)
def test_texts_of_a_payload(payload, found):
    assert list(payload_texts(payload)) == found


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("one two", [(("one",), False), (("two",), False)]),
        ('"One  Two!" three', [(("one", "two"), False), (("three",), False)]),
        ("foo-bar", [(("foo", "bar"), False)]),
        ("get_wea*", [(("get", "wea"), True)]),
        ("東京*", [(("東", "京"), True)]),
        ("one -- one", [(("one",), False)]),
        ('a"b c"d', [(("a",), False), (("b", "c"), False), (("d",), False)]),
    ],
)
def test_query_is_parsed(text, terms):
    query = SearchQuery.parse(text)
    assert [(one.words, one.is_prefix) for one in query.terms] == terms


@given(st.text(st.sampled_from('ab "*-東\u0301 '), max_size=20) | st.text(max_size=20))
def test_every_text_is_a_query_or_is_refused_with_a_reason(text):
    query = None
    with suppress(Invalid):
        query = SearchQuery.parse(text)
    if query is None:
        with pytest.raises(Invalid) as refused:
            SearchQuery.parse(text)
        assert [one.field for one in refused.value.errors] == ["query"]
    else:
        words = " ".join(word for one in query.terms for word in one.words)
        assert find_matches(trace(name=words), query) is not None


LONG_QUERIES = ["x" * (QUERY_CHARS_MAX + 1), "x " * (QUERY_WORDS_MAX + 1), "東" * 33]


@pytest.mark.parametrize("text", LONG_QUERIES)
def test_query_has_limits(text):
    with pytest.raises(Invalid):
        SearchQuery.parse(text)
    assert SearchQuery.parse(text.rstrip()[:-1].rstrip()).terms


@given(texts, st.lists(some_words, min_size=1, max_size=2), st.integers(0, 300))
def test_snippet_shows_a_part_of_the_text_with_what_matches(text, terms, before):
    whole = "x " * before + text
    query = SearchQuery(tuple(SearchTerm(tuple(words)) for words in terms))
    parts = snippet(whole, query)
    shown = "".join(part.text for part in parts)
    shown.encode()  # it has no lone surrogate
    assert len(shown) <= SNIPPET_CHARS_MAX + len("……")
    plain = normalized(whole).encode("utf-8", "replace").decode()
    assert "".join(shown.strip("…").split()) in "".join(plain.split())
    matched = [part.text for part in parts if part.is_match]
    found = any(one.sequence.find(folded(plain)) is not None for one in query.terms)
    assert bool(matched) is found
    assert all(words_of(folded(one)) for one in matched)


def test_snippet_begins_shortly_before_the_first_match():
    parts = snippet("y " * 500 + "needle" + " z" * 500, SearchQuery.parse("NEEDLE"))
    assert [part.is_match for part in parts] == [False, True, False]
    assert len(parts[0].text) == CHARS_BEFORE + 1
    assert parts[1].text == "needle"
    assert sum(len(part.text) for part in parts) == SNIPPET_CHARS_MAX + len("……")


def test_highlight_covers_characters_that_folding_makes_longer():
    [_, hit, rest] = snippet("der Straße entlang", SearchQuery.parse("strasse"))
    assert (hit.text, rest.text) == ("Straße", " entlang")
    assert unicodedata.is_normalized("NFKC", hit.text)


def test_neighbours_are_highlighted_each():
    parts = snippet("in 東京", SearchQuery.parse("京 東"))
    assert [(part.text, part.is_match) for part in parts[1:]] == [("東", True), ("京", True)]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("die " * 250_000, 0, id="a frequent word"),
        pytest.param("ß " * 250_000 + "die", 500_000, id="characters that folding makes longer"),
    ],
)
def test_snippet_of_a_large_text_takes_memory_for_some_copies_of_it(text, place):
    query = SearchQuery.parse("die")
    tracemalloc.start()
    try:
        parts, first = snippet(text, query), first_place(text, query)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (first, [part.text for part in parts if part.is_match][:1]) == (place, ["die"])
    assert peak < 16 * len(text)  # lists of its places or characters take more


@given(st.text(st.sampled_from("ßŉx "), max_size=20), st.integers(0, 3))
def test_first_place_counts_characters_before_folding(before, thousands):
    text = "ß " * (1_000 * thousands) + before + " die"
    assert first_place(text, SearchQuery.parse("die")) == len(normalized(text)) - len("die")


def test_terms_in_two_texts_of_a_field_are_found_within_a_trace():
    one = span(input=b'["one", "two"]')
    [found] = find_within(trace(one), SearchQuery.parse("one two"))
    assert (found.span, [place.text_index for place in found.places]) == (one.id, [0])


def test_places_of_terms_are_shown_once_and_few():
    spans = [span(name=f"step {n}", input=json.dumps(f"word{n}").encode()) for n in range(6)]
    one = trace(*spans, name="all")
    query = SearchQuery.parse(" ".join(f"word{n}" for n in range(6)))
    matches = find_matches(one, query)
    assert matches is not None
    assert len(matches) == MATCHES_MAX
    assert find_matches(one, SearchQuery.parse("word0 word9")) is None
