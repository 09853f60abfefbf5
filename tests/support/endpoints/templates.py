"""Templates of requests: `{trace_id}` stands for a value that depends on the caller."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

type Words = Mapping[str, str]
"""The values of placeholders, by name."""

_PLACEHOLDER: Final = re.compile(r"{([\w.]+)}")


def filled(template: Any, words: Words) -> Any:
    """A JSON template with its placeholders replaced by values."""
    match template:
        case str():
            return _PLACEHOLDER.sub(lambda found: words[found[1]], template)
        case dict():
            return {key: filled(value, words) for key, value in template.items()}
        case list():
            return [filled(value, words) for value in template]
    return template


def filled_path(template: str, words: Words) -> str:
    """A path in which each value is one segment."""
    return filled(template, {name: value.replace("/", "%2F") for name, value in words.items()})


def named(*templates: Any) -> set[str]:
    """The names of the placeholders in templates."""
    return set(_PLACEHOLDER.findall(json.dumps(templates)))
