"""Text of one line that people read in lists: names and labels.

Control and format characters could make a name look like another one, or like several lines: line
breaks, marks that reverse the direction of writing, characters of no width.
"""

import unicodedata
from typing import Final

from domain.errors import Invalid

# Control, format, line and paragraph separators.
INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
MESSAGE: Final = (
    "must not contain line breaks, control characters or invisible characters such as marks of "
    "the direction of writing"
)


def is_plain(text: str) -> bool:
    return text.isprintable() or not any(map(_is_invisible, text))


def validate_plain(text: str, field: str) -> str:
    """The text. Raises Invalid, naming `field`, if it contains characters that aren't seen."""
    if not is_plain(text):
        raise Invalid.field(field, MESSAGE)
    return text


def made_plain(text: str) -> str:
    """The text without such characters: for a name that comes from elsewhere."""
    return "".join(character for character in text if not _is_invisible(character))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in INVISIBLE_CATEGORIES
