"""Patterns in RE2: in time that grows with the text alone, so that anybody may write them."""

from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it comes without types

from domain.errors import Invalid
from domain.evaluation.custom_metrics.regex import PATTERN_MAX, TEXT_MAX

MEMORY_MAX: Final = 1 << 20  # bytes of one compiled pattern
COMPILED_MAX: Final = 256  # of those used most recently, in one process


class Re2Engine:
    def check(self, pattern: str) -> None:
        if len(pattern) > PATTERN_MAX:
            raise Invalid(f"must have at most {PATTERN_MAX} characters")
        try:
            _compiled(pattern)
        except re2.error as error:
            raise Invalid(f"is not a pattern of RE2: {_said(error)}") from error

    def search(self, pattern: str, text: str) -> bool:
        try:
            compiled = _compiled(pattern)
        except re2.error:
            return False
        # As bytes, of which nothing has to be counted back into characters.
        return compiled.search(text[:TEXT_MAX].encode(errors="replace")) is not None


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.log_errors = False
    return re2.compile(pattern.encode(errors="replace"), options)


def _said(error: Exception) -> str:
    [told] = error.args[:1] or [""]
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)
