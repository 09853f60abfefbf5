"""Lone surrogates: escapes that JSON allows, and that no text can contain."""

import re
import secrets
from typing import Final

LONE_MESSAGE: Final = "must not contain a lone surrogate"

# The marker begins with U+0000, which readers look for anyway; the rest can't be guessed.
LONE: Final = f"\0{secrets.token_urlsafe(12)}"
LONE_ESCAPED: Final = LONE.replace("\0", "\\u0000").encode()

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_BACKSLASH: Final = rb"\\"
_PLACEHOLDER: Final = b"\0\0"  # can't occur in JSON, which escapes control characters


def mark_lone_surrogates(text: bytes) -> bytes:
    """JSON with LONE in place of each lone surrogate, so that the rest of it can be parsed."""
    if b"\0" in text:
        return text  # not JSON, and the replacements below must not turn it into JSON
    # Escaped backslashes are replaced first, so that each remaining backslash begins an escape.
    without = text.replace(_BACKSLASH, _PLACEHOLDER)
    marked = _LONE.sub(LONE_ESCAPED.replace(b"\\", rb"\\"), without)
    return marked.replace(_PLACEHOLDER, _BACKSLASH)
