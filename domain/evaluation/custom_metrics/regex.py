"""Patterns that callers write: what they may look for, and how far."""

from collections.abc import Callable
from typing import Final

PATTERN_MAX: Final = 500  # characters
TEXT_MAX: Final = 100_000  # characters of a text that are looked at, from its beginning

type RegexSearch = Callable[[str, str], bool]
"""Whether a pattern (first) is found in a text (second), in time that grows with the text alone.

Of the text the first TEXT_MAX characters are looked at. False for what is no pattern.
"""
