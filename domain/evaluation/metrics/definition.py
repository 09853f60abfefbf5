"""What a project's own metric is defined by: one of three kinds of JSON, kept as it was read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from domain.evaluation.metrics.metric import Way
from domain.evaluation.trace_content.messages import value_of
from domain.tracing.payload import JsonText


class Kind(StrEnum):
    JUDGE = "judge"  # a judge reads the evidence
    RULE = "rule"  # conditions on places in the trace
    MEASURED = "measured"  # one of MEASURES


@dataclass(frozen=True, kw_only=True)  # no slots: what was looked into is kept
class Definition:
    """One revision of a project's own metric. `body` is JSON of its kind, as `as_kept` writes it.

    Nothing of it ever changes: what a run was made with, its scores were made with.
    """

    name: str
    revision: int
    kind: Kind
    description: str
    threshold: float
    body: JsonText

    @property
    def way(self) -> Way:
        return Way.JUDGED if self.kind is Kind.JUDGE else Way.MEASURED

    @cached_property
    def model(self) -> str | None:
        """The judge that it names; None where the run's is asked, or nobody."""
        value = value_of(self.body)
        named = value.get("model") if isinstance(value, Mapping) else None
        return str(named) if named is not None and self.kind is Kind.JUDGE else None

    def says_the_same(self, other: "Definition") -> bool:
        """Whether only the number of the revision is another."""
        return replace(self, revision=other.revision) == other


def as_kept(body: object) -> JsonText:
    """One text for one definition: keys sorted, no blanks."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
