"""Adds to the pinned results those of new inputs and new versions; never changes any.

python -m tests.support.clients.pinned_metrics
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from domain.evaluation.custom_metrics.checks import COMPUTED_CHECKS
from domain.evaluation.custom_metrics.parser import parse_definition
from domain.evaluation.metrics.metric import DefinitionKind, Metric
from domain.evaluation.metrics.registry import compute_metric
from domain.evaluation.scores.outcome import Outcome, Scored
from domain.evaluation.trace_content.evaluated_trace import EvaluatedTrace
from tests.support.builders.custom_metrics import definition, metric
from tests.support.builders.pinned_inputs import PARAMETERS, RULES, SUBJECTS, WRITTEN

PINNED: Final = Path(__file__).parents[2] / "domain/evaluation/custom_metrics/pinned_results.json"

type Results = Mapping[str, Mapping[str, Mapping[str, str]]]
"""What computes, with its version → definition → subject → score or code of the skip."""


REST: Final = "*"  # the subjects that have the most frequent result of a definition


def pinned(text: str) -> Results:
    """The results in a file, which lists the subjects of each result but the most frequent one."""
    results: dict[str, dict[str, dict[str, str]]] = {}
    for version, stored in json.loads(text).items():
        subjects = stored["subjects"].split()
        for case, found in stored["results"].items():
            by_name = dict.fromkeys(subjects, found[REST])
            for result, names in found.items():
                if result != REST:
                    by_name |= dict.fromkeys(names.split(), result)
            results.setdefault(version, {})[case] = by_name
    return results


def encode(results: Results) -> str:
    """The text of the file: a line for each result of a definition."""
    return (
        json.dumps(
            {
                version: {
                    "subjects": " ".join(next(iter(cases.values()))),
                    "results": {case: _by_result(found) for case, found in cases.items()},
                }
                for version, cases in results.items()
            },
            indent=1,
        )
        + "\n"
    )


def _by_result(found: Mapping[str, str]) -> Mapping[str, str]:
    counted = Counter(found.values())
    rest = max(sorted(counted), key=counted.__getitem__)
    return {REST: rest} | {
        result: " ".join(name for name, one in found.items() if one == result)
        for result in sorted(counted)
        if result != rest
    }


def compute() -> Results:
    """The results of the code as it is, by the versions that it names."""
    results: dict[str, dict[str, dict[str, str]]] = {}
    for kind, body, subjects in _definitions():
        version = parse_definition("m", kind, definition(kind, body).body).fingerprint_prefix
        of = metric(kind, body)
        case = json.dumps(body["parameters"] if kind is DefinitionKind.MEASURED else body)
        results.setdefault(version, {})[case] = {
            name: _result(of, one) for name, one in subjects.items()
        }
    return results


def _definitions() -> Iterator[
    tuple[DefinitionKind, Mapping[str, object], Mapping[str, EvaluatedTrace]]
]:
    for kind in COMPUTED_CHECKS:
        for parameters in PARAMETERS[kind]:
            subjects = WRITTEN if kind == "language_match" else SUBJECTS
            yield DefinitionKind.MEASURED, {"type": kind, "parameters": parameters}, subjects
    for rule in RULES:
        yield DefinitionKind.RULE, rule, SUBJECTS


def _result(of: Metric, one: EvaluatedTrace) -> str:
    outcome: Outcome = compute_metric(of, one)
    return repr(outcome.value) if isinstance(outcome, Scored) else outcome.code.value


def changes(before: Results, now: Results) -> list[str]:
    """The results that differ from those pinned for the same version, readable."""
    return [
        f"{version} {case} of {name}: {was}, now {result}"
        for version, cases in now.items()
        for case, found in cases.items()
        for name, result in found.items()
        if (was := before.get(version, {}).get(case, {}).get(name, result)) != result
    ]


if __name__ == "__main__":
    before, now = pinned(PINNED.read_text()) if PINNED.exists() else {}, compute()
    if changed := changes(before, now):
        sys.exit("\n".join(["Raise the version in CHECK_VERSIONS, or RULE_VERSION:", *changed]))
    PINNED.write_text(encode({**before, **now}))
