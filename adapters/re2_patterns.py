"""Patterns by RE2. Its time is linear in the text, and the time of an evaluation is bounded."""

from dataclasses import dataclass
from functools import lru_cache
from time import thread_time
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # it comes without types

from domain.errors import Invalid
from domain.evaluation.custom_metrics.regex import (
    PATTERN_MAX,
    SEARCH_S_MAX,
    TEXT_MAX,
    RegexSearch,
    SearchTooLongError,
)

MEMORY_MAX: Final = 1 << 19  # bytes of one compiled pattern; compiling one takes up to 20 ms
COMPILED_MAX: Final = 256  # patterns that a process keeps, the most recently used ones


@dataclass(frozen=True, slots=True)
class Re2Engine:
    search_s_max: float = SEARCH_S_MAX

    def check(self, pattern: str) -> None:
        if len(pattern) > PATTERN_MAX:
            raise Invalid(f"must have at most {PATTERN_MAX} characters")
        try:
            _compiled(pattern)
        except re2.error as error:
            raise Invalid(f"is not a pattern of RE2: {_reason(error)}") from error

    def new_search(self) -> RegexSearch:
        left_s = self.search_s_max

        def search(pattern: str, text: str) -> bool:
            nonlocal left_s
            if left_s <= 0:
                raise SearchTooLongError
            # Processor time: the result doesn't depend on the load of the machine.
            began_s = thread_time()
            is_found = _is_found(pattern, text)
            left_s -= thread_time() - began_s
            return is_found

        return search


def _is_found(pattern: str, text: str) -> bool:
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
