"""Patterns of error messages: what differs between occurrences is cut, what says more stays."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.span import SpanStatus
from domain.tracing.spans.error_groups import (
    FINGERPRINT_CHARS,
    NO_MESSAGE,
    PATTERN_CHARS_MAX,
    READ_CHARS_MAX,
    error_fingerprint,
    error_group_of,
    error_pattern,
)
from tests.support.builders.values import span

# A text that no rule cuts: words of letters, none of them hexadecimal.
words = st.lists(st.text("ghijklmnop", min_size=1, max_size=7), min_size=1, max_size=5)
texts = words.map(" ".join)
numbers = st.one_of(
    st.integers(0, 10**30).map(str),
    st.decimals(0, 10**9, places=3).map(str),
    st.integers(0, 10**12).map(lambda number: f"{number:,}"),
)
ids = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda one: one.hex).filter(lambda text: not text.isdigit()),
    st.integers(0, 2**64 - 1).map(hex),
    st.uuids(version=4).map(lambda one: f"req_{one.hex[:20]}"),
    st.integers(10, 10**9).map(lambda number: f"call-{number}-x"),
)
printable = st.characters(
    exclude_characters="'\"`", max_codepoint=0x17F, categories=["L", "N", "P", "Zs"]
)
quoted = st.builds(
    lambda quote, text: quote + text + quote,
    st.sampled_from("'\"`"),
    st.text(printable, max_size=50),
)
addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.tuples(st.ip_addresses(v=4), st.integers(1, 65_535)).map(lambda one: f"{one[0]}:{one[1]}"),
    words.map(lambda path: f"https://{path[0]}.example/{'/'.join(path)}?page=1"),
    words.map(lambda path: f"/srv/{'/'.join(path)}/main"),
    words.map(lambda names: f"{names[0]}@{names[-1]}.example"),
)


CHAINED = """Traceback (most recent call last):
  File "a.py", line 3
    check(x)
KeyError: 1

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 7, in f
    g()
    ~^^
ValidationError: 2 errors for Order
id
  Field required
    See https://errors.example/missing"""


@pytest.mark.parametrize("kind", [numbers, ids, quoted, addresses], ids=["n", "id", "text", "at"])
def test_what_differs_between_occurrences_is_cut(kind):
    @given(texts, kind, kind, texts)
    def cut(before: str, one: str, other: str, after: str) -> None:
        first, second = (f"{before} {value} {after}" for value in (one, other))
        assert error_pattern(first) == error_pattern(second)
        assert error_fingerprint(first) == error_fingerprint(second)

    cut()


@given(texts, texts)
def test_different_words_are_different_groups(one, other):
    assert (error_pattern(one) == error_pattern(other)) is (one == other)


@given(st.text() | st.none())
def test_every_message_has_a_pattern(message):
    pattern = error_pattern(message)
    assert 0 < len(pattern) <= PATTERN_CHARS_MAX
    assert pattern == error_pattern(message)
    fingerprint = error_fingerprint(message)
    assert len(fingerprint) == FINGERPRINT_CHARS
    assert int(fingerprint, 16) >= 0


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_only_the_ends_of_a_traceback_are_read(frames, lines, more):
    """However long a message is, nothing has to read all of it."""
    long = "    step()\n" * 60
    message = 'Traceback (most recent call last):\n  File "a.py", line 3\n' + long * frames
    message += f"Broken: {'word ' * 30 * lines}\n" + "  detail\n" * 90 * more
    ends = message[:READ_CHARS_MAX] + message[-READ_CHARS_MAX:]
    whole = len(message) <= 2 * READ_CHARS_MAX
    assert error_pattern(message if whole else ends) == error_pattern(message)


@given(texts, st.sampled_from([" ", "\n", "\t", "\r\n  "]), st.text(max_size=50))
def test_blanks_and_further_lines_are_left_out(text, blank, more):
    assert error_pattern(f"{blank}{text}  \n{more}") == error_pattern(text)


@given(st.text("'\"`0a:/@.-_ ", max_size=2_500))
def test_hostile_messages_take_no_time(message):
    assert error_pattern(message)  # Hypothesis refuses an example that takes 200 ms


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        (None, NO_MESSAGE),
        ("  \n ", NO_MESSAGE),
        ("timed out after 30.5 s (attempt 2)", "timed out after <number> s (attempt <number>)"),
        ("Error code: 429 - quota of 9000", "Error code: 429 - quota of <number>"),
        ("HTTP/1.1 503 Service Unavailable", "HTTP/1.1 503 Service Unavailable"),
        ("no row with id 7", "no row with id <number>"),
        ("can't find user 'ada' in table \"t\"", "can't find user <text> in table <text>"),
        ("connect to 10.0.0.7:5432 failed", "connect to <address> failed"),
        ("at 0x7FDD31C13750", "at <id>"),
        ("GET http://api/x?y=1 refused", "GET <address> refused"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy failed", "request <id> failed"),
        ("Too many requests", "Too many requests"),
        (
            "Traceback (most recent call last):\n  File \"a.py\", line 3\nValueError: bad 'x'\n",
            "ValueError: bad <text>",
        ),
        (
            CHAINED,
            "ValidationError: <number> errors for Order",
        ),
        ("Traceback (most recent call last):\nKeyError: 'x'", "KeyError: <text>"),
        (f"Traceback (most recent call last):{' ' * READ_CHARS_MAX}", NO_MESSAGE),
        (
            f'Traceback (most recent call last):\n  File "a.py"\nE: {"too long " * 400}',
            f"E: {'too long ' * 400}"[:PATTERN_CHARS_MAX],
        ),
        (
            'Traceback (most recent call last):\n  File "a.py", cut',
            "File <text>, cut",
        ),
    ],
)
def test_patterns(message, pattern):
    assert error_pattern(message) == pattern


parts = st.one_of(
    texts.map(lambda text: (text, text)),
    quoted.map(lambda text: (text, "<text>")),
    addresses.map(lambda text: (text, "<address>")),
)


@given(st.lists(parts, min_size=1, max_size=60))
def test_long_message_is_cut_part_by_part(said):
    """It is searched in steps, and no further than it is shown."""
    message, pattern = (" ".join(some) for some in zip(*said, strict=True))
    whole = len(message) <= READ_CHARS_MAX
    assert error_pattern(message) == pattern[:PATTERN_CHARS_MAX] or not whole


@pytest.mark.parametrize("before", [0, 40, 290, 295, 300])
def test_address_that_ends_far_behind_what_is_shown_is_cut(before):
    words = ("word " * 60)[:before]
    address = "https://example.com/?q=" + "a1" * 800
    shown = f"{' '.join(words.split())} <address>".strip()
    assert error_pattern(f"{words}{address} failed") == f"{shown} failed"[:PATTERN_CHARS_MAX]


def test_fingerprint_never_changes():
    assert error_fingerprint("timed out after 30 s") == "6539f7492a6becdd"


def test_only_failed_spans_belong_to_a_group():
    assert error_group_of(span(error="x", status=SpanStatus.OK)) is None
    assert error_group_of(span(status=SpanStatus.ERROR)) == error_fingerprint(None)


def test_uuid_without_letters_is_an_id():
    assert error_pattern(f"job {uuid.UUID(int=0)}") == "job <id>"
