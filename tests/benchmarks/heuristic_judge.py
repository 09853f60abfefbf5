"""Prints how well the heuristic judge's `task_completion` agrees with labels.

For docs/evaluation/metrics.md.

    python -m tests.benchmarks.heuristic_judge

The labelled traces and the two halves are described in `tests/support/builders/labelled_traces.py`.
With `tuned` as argument it prints the traces of that half instead, with their scores: those that
the rules may be tuned on.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise, product
from statistics import fmean

from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.judging.heuristics import heuristic_outcome
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from domain.evaluation.scores.outcome import Outcome, Scored
from tests.support.builders.labelled_traces import Half, LabelledTrace, labelled_traces

BANDS = (0.2, 0.5, 0.8)  # borders between bands of scores
UNKNOWN = 0.5  # what a skipped trace counts as, where all traces are ranked


@dataclass(frozen=True)
class Judged:
    trace: LabelledTrace
    outcome: Outcome

    @property
    def score(self) -> float | None:
        return self.outcome.value if isinstance(self.outcome, Scored) else None


def judge(trace: LabelledTrace) -> Judged:
    """The outcome of `task_completion`, as a run without a model gives it."""
    evaluated = trace.trace()
    assert TASK_COMPLETION.precheck is not None
    decided = TASK_COMPLETION.precheck(evaluated)
    if decided is not None:
        return Judged(trace, decided)
    return Judged(trace, heuristic_outcome("task_completion", build_evidence(evaluated)))


def area_under_curve(scores: Iterable[tuple[float, bool]]) -> float | None:
    """The probability that a fulfilled request scores higher than another one; ties count half."""
    some = list(scores)
    good = [score for score, is_done in some if is_done]
    bad = [score for score, is_done in some if not is_done]
    if not good or not bad:
        return None
    return fmean(
        1.0 if up > down else 0.5 if up == down else 0.0 for up, down in product(good, bad)
    )


def row(name: str, some: Sequence[Judged]) -> str:
    scored = [(one.score, one.trace.is_done) for one in some if one.score is not None]
    everything = [(UNKNOWN if one.score is None else one.score, one.trace.is_done) for one in some]
    cells = [
        name,
        str(len(some)),
        str(sum(one.trace.is_done for one in some)),
        str(len(scored)),
        _shown(area_under_curve(scored)),
        _shown(area_under_curve(everything)),
        _shown(fmean(score for score, _ in scored) if scored else None),
        _shown(fmean(is_done for _, is_done in scored) if scored else None),
        _shown(fmean((score - is_done) ** 2 for score, is_done in scored) if scored else None),
    ]
    return f"| {' | '.join(cells)} |"


def _shown(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def table(half: Half) -> str:
    judged = [judge(one) for one in labelled_traces() if one.half is half]
    lines = [
        "| Kind | Traces | Fulfilled | Scored | AUC | AUC, all | Mean score | Fulfilled | Brier |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, some in groupby(judged, key=lambda one: one.trace.kind):
        lines.append(row(kind, list(some)))
    return "\n".join([*lines, row("all", judged)])


def calibration(half: Half) -> str:
    """The share of fulfilled requests in each band of scores."""
    judged = [judge(one) for one in labelled_traces() if one.half is half]
    scored = [(one.score, one.trace.is_done) for one in judged if one.score is not None]
    lines = ["| Score | Traces | Mean score | Fulfilled |", "|---|---|---|---|"]
    for low, high in pairwise((0.0, *BANDS, 1.0)):
        some = [(score, is_done) for score, is_done in scored if low < score <= high]
        mean = _shown(fmean(score for score, _ in some) if some else None)
        done = _shown(fmean(is_done for _, is_done in some) if some else None)
        lines.append(f"| above {low} to {high} | {len(some)} | {mean} | {done} |")
    return "\n".join(lines)


def main(half: str = "") -> None:
    if half != Half.TUNED:
        print(table(Half.REPORTED), calibration(Half.REPORTED), sep="\n\n")
        return
    for trace in labelled_traces():
        if trace.half is Half.TUNED:
            judged = judge(trace)
            score = "-" if judged.score is None else f"{judged.score:.2f}"
            print(f"{int(trace.is_done)} {score:>5} {trace.id}: {judged.outcome.reason}")
    print(table(Half.TUNED))


if __name__ == "__main__":
    main(*sys.argv[1:])
