"""What a judge is shown of the evidence, where the author of a metric says so: `{{task}}`.

Names in double braces stand for parts of the evidence, everything else for itself. There are no
conditions, loops or filters. What a name stands for is foreign text: it is printed as in any
evidence, behind marks or in quotation marks, between the two lines with the boundary. So a template
chooses among what a judge gets to read anyway, masked and cut to its budget, and adds but itself.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

PLACEHOLDERS: Final = ("task", "final_output", "status", "facts", "tools", "plan", "steps")
STEPS: Final = "steps"
TEMPLATE_MAX: Final = 2_000  # characters

_NAME: Final = re.compile(r"\{\{([^{}]*)\}\}")


class InvalidTemplate(ValueError):  # noqa: N818 - it is no error of ours
    """Text that is no template. The message is for who wrote it."""


def check(text: str) -> None:
    """Raises InvalidTemplate unless it has names, each known, once, and on a line of its own."""
    named = _names(text)
    unknown = [name for name in dict.fromkeys(named) if name not in PLACEHOLDERS]
    if unknown:
        told = ", ".join(repr(name[:50]) for name in unknown[: len(PLACEHOLDERS)])
        raise InvalidTemplate(f"does not know {told}; there are: {', '.join(PLACEHOLDERS)}")
    without = _NAME.sub("", text)
    if "{{" in without or "}}" in without:
        raise InvalidTemplate("has braces that are not closed")
    if not named or len(set(named)) < len(named):
        raise InvalidTemplate("must hold a name such as {{task}}, and none twice")
    if any(_NAME.search(line) and not _NAME.fullmatch(line.strip()) for line in text.splitlines()):
        raise InvalidTemplate("must have each name on a line of its own")


def shows_steps(text: str) -> bool:
    return STEPS in _names(text)


def render_template(text: str, parts: Mapping[str, str]) -> str:
    """A checked template with what its names stand for."""
    named = ((line, _NAME.fullmatch(line.strip())) for line in text.splitlines())
    return "\n".join(line if name is None else parts[name[1].strip()] for line, name in named)


def _names(text: str) -> Sequence[str]:
    return [one[1].strip() for one in _NAME.finditer(text)]
