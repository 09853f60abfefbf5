"""Lone surrogates: escapes that JSON allows, and that no text can hold."""

import re
import secrets
from typing import Final

LONE_MESSAGE: Final = "must not contain a lone surrogate"

# It begins with U+0000, for which every reader looks anyway, and nobody can guess the rest.
LONE: Final = f"\0{secrets.token_urlsafe(12)}"
LONE_ESCAPED: Final = LONE.replace("\0", "\\u0000").encode()

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_BACKSLASH: Final = rb"\\"
_ASIDE: Final = b"\0\0"  # never in JSON, where control characters are escaped


def marked(text: bytes) -> bytes:
    """JSON with LONE in place of each lone surrogate, so that the rest of it can be read."""
    if b"\0" in text:
        return text  # no JSON, and marking it must not make it so
    # Escaped backslashes are put aside: what still begins with a backslash is an escape.
    aside = text.replace(_BACKSLASH, _ASIDE)
    return _LONE.sub(LONE_ESCAPED.replace(b"\\", rb"\\"), aside).replace(_ASIDE, _BACKSLASH)
