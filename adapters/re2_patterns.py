"""Patterns by RE2. Its time is linear in the text, so patterns of any user are safe to run."""

from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it comes without types

from domain.errors import Invalid
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX

MEMORY_MAX: Final = 1 << 20  # bytes of one compiled pattern
COMPILED_MAX: Final = 256  # patterns that a process keeps, the most recently used ones


class Re2Engine:
    def check(self, pattern: str) -> None:
        if len(pattern) > PATTERN_MAX:
            raise Invalid(f"must have at most {PATTERN_MAX} characters")
        try:
            _compiled(pattern)
        except re2.error as error:
            raise Invalid(f"is not a pattern of RE2: {_reason(error)}") from error

    def search(self, pattern: str, text: str) -> bool:
        try:
            compiled = _compiled(pattern)
        except re2.error:
            return False
        # As bytes, so that RE2 needn't convert positions into characters.
        return compiled.search(text[:TEXT_MAX].encode(errors="replace")) is not None


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.log_errors = False
    return re2.compile(pattern.encode(errors="replace"), options)


def _reason(error: Exception) -> str:
    [text] = error.args[:1] or [""]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
