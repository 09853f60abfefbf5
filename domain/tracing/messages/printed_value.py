"""Values in the form in which Python prints them, as some libraries send them."""

import ast
import re
import warnings
from typing import Final

PRINTED_CHARS_MAX: Final = 10_000  # of a text that is parsed, which takes milliseconds
_SOURCE: Final = "<printed value>"
_NO_PYTHON_ESCAPE: Final = re.compile(r"""\\(?!['"nrtxuU])""")  # Python never prints these

# The parser warns of each odd token, on the standard error: a sender could fill the log.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_SOURCE))


def parse_printed(text: str) -> object:
    """The literal that a text is; None for another text, and for more than PRINTED_CHARS_MAX."""
    if len(text) > PRINTED_CHARS_MAX or _NO_PYTHON_ESCAPE.search(text.replace("\\\\", "")):
        return None
    try:
        value: object = ast.literal_eval(ast.parse(text.lstrip(" \t"), _SOURCE, "eval"))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return value
