"""Limits of the regular expressions that callers write, and their search function."""

from collections.abc import Callable
from typing import Final

PATTERN_MAX: Final = 500  # characters
TEXT_MAX: Final = 100_000  # characters of a text that are searched, from its beginning
# Processor time for all patterns of a metric on one trace. A usual pattern takes a millisecond
# for TEXT_MAX characters, a costly one three seconds. A rule has up to 50, for thousands of spans.
SEARCH_S_MAX: Final = 2.0


class SearchTooLongError(Exception):
    """The patterns of a metric have used SEARCH_S_MAX."""


type RegexSearch = Callable[[str, str], bool]
"""Whether a pattern (first) is found in a text (second), in time linear in the text.

Only the first TEXT_MAX characters are searched. False for an invalid pattern. Raises
SearchTooLongError.
"""

type NewRegexSearch = Callable[[], RegexSearch]
"""Returns a search for one evaluation of a metric, which has SEARCH_S_MAX."""
