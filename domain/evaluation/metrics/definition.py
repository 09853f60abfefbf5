"""The definition of a custom metric: JSON of one of three kinds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from domain.evaluation.metrics.metric import EvaluationMethod
from domain.evaluation.trace_content.messages import decode_json
from domain.tracing.payload import JsonText


class DefinitionKind(StrEnum):
    JUDGE = "judge"  # a judge reads the evidence
    RULE = "rule"  # conditions on paths of the trace
    MEASURED = "measured"  # one of `checks.COMPUTED_CHECKS`


@dataclass(frozen=True, kw_only=True)  # no slots: `cached_property` needs an instance dict
class Definition:
    """One revision of a custom metric. `body` is the JSON that `encode_definition` wrote.

    A revision never changes, so a run's scores always belong to the definition it was created with.
    """

    name: str
    revision: int
    kind: DefinitionKind
    description: str
    threshold: float
    body: JsonText

    @property
    def method(self) -> EvaluationMethod:
        return (
            EvaluationMethod.JUDGED
            if self.kind is DefinitionKind.JUDGE
            else EvaluationMethod.COMPUTED
        )

    @cached_property
    def model(self) -> str | None:
        """The judge model that it names; None if it names none or has no judge."""
        value = decode_json(self.body)
        named = value.get("model") if isinstance(value, Mapping) else None
        return str(named) if named is not None and self.kind is DefinitionKind.JUDGE else None

    def has_same_content(self, other: "Definition") -> bool:
        """Whether the other definition differs at most in its revision."""
        return replace(self, revision=other.revision) == other


def encode_definition(body: object) -> JsonText:
    """A canonical encoding: keys sorted, no whitespace."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
