"""A pool whose statements lose their conditions on the tenant, as by a mistake in the code."""

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.postgres.database.pool import IN_PROJECT, Pool

type Rule = tuple[re.Pattern[str], str]


def _conditions_on(column: str) -> list[Rule]:
    """`column = $1`, `column = ANY($1)`, and `column = other.column` of a join."""
    this = rf"(?:\w+\.)?\b{column}"
    return [
        (re.compile(rf"{this} = \$(\d+)(?:::uuid)?"), r"$\1::uuid IS NOT NULL"),
        (re.compile(rf"{this} = ANY\(\$(\d+)(?:::uuid\[\])?\)"), r"$\1::uuid[] IS NOT NULL"),
        (re.compile(rf"{this} = \w+\.{column}\b"), "TRUE"),
    ]


_OF_PROJECT: Final[Rule] = (
    re.compile(rf"(?:\w+\.)?{re.escape(IN_PROJECT)}"),
    "$1::uuid IS NOT NULL",
)
ON_PROJECT: Final = [_OF_PROJECT, *_conditions_on("project_id")]
ON_ORGANIZATION: Final = _conditions_on("organization_id")
EVERY_CONDITION: Final = [*ON_PROJECT, *ON_ORGANIZATION]


@dataclass
class ForgetfulPool:
    """Passes everything to `inner`. Within `forgetting`, statements lose conditions before."""

    inner: Pool
    rules: Sequence[Rule] = ()
    changed: set[str] = field(default_factory=set)  # the statements that have lost one

    @contextmanager
    def forgetting(self, rules: Sequence[Rule]) -> Iterator[None]:
        before, self.rules = self.rules, rules
        try:
            yield
        finally:
            self.rules = before

    def without_conditions(self, sql: str) -> str:
        found = sql
        for pattern, replacement in self.rules:
            found = pattern.sub(replacement, found)
        if found != sql:
            self.changed.add(sql)
        return found

    @asynccontextmanager
    async def acquire(self, **options: Any) -> AsyncIterator[Any]:
        async with self.inner.acquire(**options) as connection:
            yield _Forgetful(connection, self)

    @asynccontextmanager
    async def acquire_with_last_scope(self) -> AsyncIterator[Any]:
        async with self.inner.acquire_with_last_scope() as connection:
            yield _Forgetful(connection, self)

    def __getattr__(self, name: str) -> Any:
        return _changing(getattr(self.inner, name), name, self)


class _Forgetful:
    def __init__(self, connection: Any, pool: ForgetfulPool) -> None:
        self._connection, self._pool = connection, pool

    def __getattr__(self, name: str) -> Any:
        return _changing(getattr(self._connection, name), name, self._pool)


_RUN_SQL: Final = frozenset(
    {"fetch", "fetchrow", "fetchval", "execute", "executemany", "prepare", "cursor"}
)


def _changing(method: Any, name: str, pool: ForgetfulPool) -> Any:
    if name not in _RUN_SQL:
        return method
    return lambda sql, *values, **options: method(pool.without_conditions(sql), *values, **options)
