"""Templates of custom metrics: which parts of the evidence a judge sees, as `{{task}}`.

Names in double braces are placeholders for parts of the evidence; all other text is literal. There
are no conditions, loops or filters. The value of a placeholder is text of the trace: it is printed
as in any evidence, with prefixes or in quotes, within the boundary. So a template only selects
parts of the redacted and truncated evidence, and adds its own text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

PLACEHOLDERS: Final = (
    *("task", "final_output", "expected", "status", "facts", "tools", "plan", "steps"),
)
STEPS: Final = "steps"
EXPECTED: Final = "expected"
TEMPLATE_MAX: Final = 2_000  # characters

_NAME: Final = re.compile(r"\{\{([^{}]*)\}\}")


class InvalidTemplate(ValueError):  # noqa: N818 - a mistake of the caller
    """The text isn't a valid template. The message is written for its author."""


def check(text: str) -> None:
    """Raises InvalidTemplate unless each placeholder is known, unique and on its own line."""
    named = _names(text)
    unknown = [name for name in dict.fromkeys(named) if name not in PLACEHOLDERS]
    if unknown:
        names = ", ".join(repr(name[:50]) for name in unknown[: len(PLACEHOLDERS)])
        raise InvalidTemplate(f"does not know {names}; there are: {', '.join(PLACEHOLDERS)}")
    without = _NAME.sub("", text)
    if "{{" in without or "}}" in without:
        raise InvalidTemplate("has braces that are not closed")
    if not named or len(set(named)) < len(named):
        raise InvalidTemplate("must hold a name such as {{task}}, and none twice")
    if any(_NAME.search(line) and not _NAME.fullmatch(line.strip()) for line in text.splitlines()):
        raise InvalidTemplate("must have each name on a line of its own")


def shows_steps(text: str) -> bool:
    return STEPS in _names(text)


def shows_expected(text: str) -> bool:
    """Whether the judge compares with what the item of a dataset expects."""
    return EXPECTED in _names(text)


def render_template(text: str, parts: Mapping[str, str]) -> str:
    """A valid template with its placeholders replaced."""
    named = ((line, _NAME.fullmatch(line.strip())) for line in text.splitlines())
    return "\n".join(line if name is None else parts[name[1].strip()] for line, name in named)


def _names(text: str) -> Sequence[str]:
    return [one[1].strip() for one in _NAME.finditer(text)]
