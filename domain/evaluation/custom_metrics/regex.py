"""Limits of the regular expressions that callers write, and their search function."""

from collections.abc import Callable
from typing import Final

PATTERN_MAX: Final = 500  # characters
TEXT_MAX: Final = 100_000  # characters of a text that are searched, from its beginning

type RegexSearch = Callable[[str, str], bool]
"""Whether a pattern (first) is found in a text (second), in time linear in the text.

Only the first TEXT_MAX characters are searched. False for an invalid pattern.
"""
