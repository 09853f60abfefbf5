"""Counts in texts."""

import pytest

from domain.wording import counted


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("trace",), "0 traces"),
        (1, ("trace",), "1 trace"),
        (2, ("trace",), "2 traces"),
        (12_345, ("retry", "retries"), "12,345 retries"),
        (1, ("target was", "targets were"), "1 target was"),
    ],
)
def test_noun_agrees_with_its_count(count: int, words: tuple[str, ...], text: str) -> None:
    assert counted(count, *words) == text
