"""Compares judges with people: pairs of scores, pass rates, and which scores to label next.

A label is a person's value for a trace under a name: an ANNOTATION, or the value that replaced that
of a run's score. A judge's score is the value that a run computed. It counts after a person changed
its reason, and after a person replaced its value. The fingerprint of a score identifies its judge.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from domain.evaluation.agreement.statistics import (
    SPEARMAN_MIN,
    ConfusionMatrix,
    IntervalEstimate,
    ScorePair,
    mean_absolute_error,
    proportion,
    spearman,
    weighted_kappa,
)
from domain.evaluation.metrics.metric import JudgeKind
from domain.evaluation.scores.score import (
    ORIGINAL_VALUE,
    CreatedWithin,
    Score,
    ScoreSource,
    TraceScore,
    is_unit_number,
    newest_first,
)
from domain.ids import ProjectId, TraceId
from domain.tracing.payloads.payload import scalar_members

PAIRED_TRACES_MAX: Final = 200  # of a cell of the confusion matrix, in one response
LABELS_MAX: Final = 10_000  # of one response, the newest
JUDGED_MAX: Final = 10_000  # scores of a pass rate, the newest
JUDGE_SCORES_PER_TRACE_MAX: Final = 20  # the newest
JUDGES_MAX: Final = 50  # of one response, those with the most labels
CALIBRATED_FROM: Final = 30  # labels
CANDIDATES_MAX: Final = 10_000  # of an annotation queue, the newest scores
QUEUE_LENGTH_MAX: Final = 100
QUEUE_LENGTH_DEFAULT: Final = 20
RANDOM_EVERY: Final = 5  # every fifth item

NOTHING_SHARED: Final = "no trace has both a score of the judge and a label"
ONE_ANSWER: Final = "judge and people gave one and the same answer, as chance would"
ONE_NUMBER: Final = "the judge, or people, gave one number throughout"
TOO_FEW: Final = f"fewer than {SPEARMAN_MIN} pairs"
NOTHING_PASSED: Final = "people passed nothing"
NOTHING_FAILED: Final = "people failed nothing"
NOTHING_JUDGED: Final = "the judge scored nothing in this time"
BY_CHANCE: Final = (
    "sensitivity and specificity come to 1 or less: the judge is no better than chance"
)

type Fingerprint = str | None
"""The fingerprint of a judge; None if no run confirms it."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """A statistic that is undefined, and why. It is never reported as 0."""

    reason: str


type Statistic = IntervalEstimate | Undefined


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeVolume:
    """The number of a judge's newest scores, and how many of them pass."""

    judge_kind: str | None
    judged: int
    passed: int


NO_VOLUME: Final = JudgeVolume(judge_kind=None, judged=0, passed=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeScores:
    """A judge's scores paired with labels, in ascending order, and its volume."""

    fingerprint: Fingerprint
    pairs: Sequence[ScorePair]
    rated: JudgeVolume


class ConfusionCell(StrEnum):
    """Whether a judge and a person pass a trace: both, one of them, or neither."""

    BOTH_PASS = "both_pass"  # noqa: S105 - of judges
    ONLY_JUDGE_PASSES = "only_judge_passes"
    ONLY_PEOPLE_PASS = "only_people_pass"  # noqa: S105 - of people
    BOTH_FAIL = "both_fail"

    @classmethod
    def from_pair(cls, pair: ScorePair, threshold: float) -> Self:
        if pair.judge >= threshold:
            return cls.BOTH_PASS if pair.person >= threshold else cls.ONLY_JUDGE_PASSES
        return cls.ONLY_PEOPLE_PASS if pair.person >= threshold else cls.BOTH_FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTrace:
    """A trace that a judge and a person scored. `labelled_at`: when the label was written last."""

    trace: TraceId
    fingerprint: Fingerprint
    pair: ScorePair
    labelled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CellQuery:
    """A cell of the confusion matrix of some judges at a threshold; None: of every judge."""

    cell: ConfusionCell
    threshold: float
    judges: frozenset[Fingerprint] | None = None

    def matches(self, one: PairedTrace) -> bool:
        is_of_judge = self.judges is None or one.fingerprint in self.judges
        return is_of_judge and ConfusionCell.from_pair(one.pair, self.threshold) is self.cell


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTraces:
    """Some of the traces of a cell, and how many it has."""

    traces: Sequence[PairedTrace]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The agreement of one judge with people at a threshold. `n` counts pairs, one per trace."""

    fingerprint: Fingerprint
    judge_kind: str | None
    n: int
    is_calibrated: bool
    confusion: ConfusionMatrix
    agreement: Statistic
    kappa: Statistic
    weighted_kappa: Statistic
    spearman: Statistic
    mean_absolute_error: Statistic
    sensitivity: Statistic
    specificity: Statistic
    judged: int
    pass_rate: Statistic
    corrected_pass_rate: Statistic


def calibrate(scores: JudgeScores, threshold: float) -> Calibration:
    pairs, rated = scores.pairs, scores.rated
    found = ConfusionMatrix.from_pairs(pairs, threshold)
    shared = ONE_ANSWER if pairs else NOTHING_SHARED
    corrected = found.corrected(rated.passed, rated.judged)
    return Calibration(
        fingerprint=scores.fingerprint,
        judge_kind=rated.judge_kind,
        n=found.n,
        is_calibrated=found.n >= CALIBRATED_FROM,
        confusion=found,
        agreement=found.agreement or Undefined(NOTHING_SHARED),
        kappa=found.kappa or Undefined(shared),
        weighted_kappa=weighted_kappa(pairs) or Undefined(shared),
        spearman=spearman(pairs) or Undefined(ONE_NUMBER if found.n >= SPEARMAN_MIN else TOO_FEW),
        mean_absolute_error=mean_absolute_error(pairs) or Undefined(NOTHING_SHARED),
        sensitivity=found.sensitivity or Undefined(NOTHING_PASSED),
        specificity=found.specificity or Undefined(NOTHING_FAILED),
        judged=rated.judged,
        pass_rate=proportion(rated.passed, rated.judged) or Undefined(NOTHING_JUDGED),
        corrected_pass_rate=corrected or Undefined(_why_uncorrected(found, rated)),
    )


def _why_uncorrected(found: ConfusionMatrix, rated: JudgeVolume) -> str:
    if found.n == 0:
        return NOTHING_SHARED
    if found.sensitivity is None:
        return NOTHING_PASSED
    if found.specificity is None:
        return NOTHING_FAILED
    return NOTHING_JUDGED if rated.judged == 0 else BY_CHANCE


# --- which scores make pairs -----------------------------------------------------------------


def original_score(score: Score) -> float | None:
    """The number that a run computed, if a person has replaced it.

    None otherwise, and for scores without a run: anyone may write metadata that looks like it.
    """
    if score.run_id is None or score.source is not ScoreSource.ANNOTATION or score.number is None:
        return None
    text = scalar_members(score.metadata).get(ORIGINAL_VALUE)
    return None if text is None or not is_unit_number(text) else float(text)


def judge_score(score: Score) -> float | None:
    """The number that a judge gave, even if a person has changed it since, or its reason alone."""
    return score.number if score.has_machine_value else original_score(score)


def human_label(score: Score) -> float | None:
    """The number that a person gave. Editing only the reason of a run's score isn't a label.

    Neither is it once the run is deleted: otherwise the judge would be compared with itself.
    """
    if score.source is not ScoreSource.ANNOTATION:
        return None
    is_machines = score.has_machine_value if score.run_id is None else original_score(score) is None
    return None if is_machines else score.number


def group_by_judge(
    pairs: Iterable[tuple[Fingerprint, ScorePair]], rated: Mapping[Fingerprint, JudgeVolume]
) -> list[JudgeScores]:
    """Groups pairs by judge, those with the most labels first; at most JUDGES_MAX."""
    by_judge: dict[Fingerprint, list[ScorePair]] = {fingerprint: [] for fingerprint in rated}
    for fingerprint, pair in pairs:
        by_judge.setdefault(fingerprint, []).append(pair)
    found = [
        JudgeScores(
            fingerprint=fingerprint,
            pairs=sorted(some, key=lambda pair: (pair.judge, pair.person)),
            rated=rated.get(fingerprint, NO_VOLUME),
        )
        for fingerprint, some in by_judge.items()
    ]
    found.sort(key=_rank)
    return found[:JUDGES_MAX]


def _rank(one: JudgeScores) -> tuple[int, int, bool, str]:
    is_known = one.fingerprint is not None
    return (-len(one.pairs), -one.rated.judged, not is_known, one.fingerprint or "")


def compare_with_human_labels(
    scores: Iterable[TraceScore],
    fingerprint_of: Callable[[TraceScore], Fingerprint],
    threshold: float,
    within: CreatedWithin,
) -> list[JudgeScores]:
    """Pairs the scores of a name with labels. Both and pass rates are limited to `within`.

    The last written label of a trace counts, and the newest score of a judge. The constants above
    bound how many of each are used.
    """
    ours = newest_first(scores)
    judged = [(one, number) for one in ours if (number := judge_score(one)) is not None]
    pairs = [(one.fingerprint, one.pair) for one in paired_traces(ours, fingerprint_of, within)]
    counted = [(one, number) for one, number in judged if within.matches(one)]
    by_judge: dict[Fingerprint, list[tuple[Score, float]]] = {}
    for one, number in counted[:JUDGED_MAX]:
        by_judge.setdefault(fingerprint_of(one), []).append((one, number))
    return group_by_judge(
        pairs, {judge: _rated(some, threshold) for judge, some in by_judge.items()}
    )


def paired_traces(
    scores: Iterable[TraceScore],
    fingerprint_of: Callable[[TraceScore], Fingerprint],
    within: CreatedWithin,
) -> list[PairedTrace]:
    """The traces that have a label, once for each judge: the pairs of `compare_with_human_labels`.

    In any order.
    """
    ours = newest_first(scores)
    judged = [(one, number) for one in ours if (number := judge_score(one)) is not None]
    labels = [one for one in ours if human_label(one) is not None and within.matches(one)]
    labels = sorted(labels[:LABELS_MAX], key=lambda one: (one.updated_at, one.id))
    last = {one.trace_id: one for one in labels}
    pairs: list[PairedTrace] = []
    for trace, label in last.items():
        judged_trace = [(one, number) for one, number in judged if one.trace_id == trace]
        last_of_each = {
            fingerprint_of(one): number
            for one, number in reversed(judged_trace[:JUDGE_SCORES_PER_TRACE_MAX])
        }
        pairs += [
            PairedTrace(
                trace=trace,
                fingerprint=judge,
                pair=ScorePair(number, human_label(label) or 0.0),
                labelled_at=label.updated_at,
            )
            for judge, number in last_of_each.items()
        ]
    return pairs


def traces_of_cell(pairs: Iterable[PairedTrace], query: CellQuery) -> PairedTraces:
    """The PAIRED_TRACES_MAX traces of a cell that were labelled last."""
    found = [one for one in pairs if query.matches(one)]
    found.sort(key=lambda one: (one.labelled_at, one.trace, one.fingerprint or ""), reverse=True)
    return PairedTraces(traces=found[:PAIRED_TRACES_MAX], total=len(found))


def _rated(scores: Sequence[tuple[Score, float]], threshold: float) -> JudgeVolume:
    kinds = {one.judge_kind for one, _ in scores} & set(JudgeKind)
    return JudgeVolume(
        judge_kind=max(filter(None, kinds), default=None),
        judged=len(scores),
        passed=sum(number >= threshold for _, number in scores),
    )


# --- annotation queue ------------------------------------------------------------------------


class SelectionReason(StrEnum):
    """Why a score is in the queue."""

    UNCERTAIN = "uncertain"  # nearest to the threshold
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class QueueItem:
    score: TraceScore
    why: SelectionReason


def unlabelled_scores(scores: Iterable[TraceScore]) -> list[TraceScore]:
    """The newest judge score of each trace without a human label, for one name."""
    ours = newest_first(scores)
    known = {one.trace_id for one in ours if one.source is ScoreSource.ANNOTATION}
    judged = [
        one for one in ours if one.source is ScoreSource.AUTOMATED and one.number is not None
    ][:CANDIDATES_MAX]
    newest = {one.trace_id: one for one in reversed(judged) if one.trace_id not in known}
    return [*newest.values()]


def build_queue(
    scores: Iterable[TraceScore], threshold: float, seed: str, limit: int
) -> list[QueueItem]:
    """At most `limit` of the unlabelled scores, each once: uncertain ones, and a fifth at random.

    The random ones find errors that an uncertainty ranking would miss: they are drawn from all
    candidates, whether or not the judge is uncertain, by a seeded hash.
    """
    uncertain, by_chance = queue_orders(unlabelled_scores(scores), threshold, seed)
    return interleave(uncertain[:limit], by_chance[:limit])


def queue_orders(
    scores: Sequence[TraceScore], threshold: float, seed: str
) -> tuple[list[TraceScore], list[TraceScore]]:
    """The scores nearest to the threshold first, and in random order."""
    return (
        sorted(scores, key=lambda one: (abs((one.number or 0.0) - threshold), one.id)),
        sorted(scores, key=lambda one: random_key(seed, one.trace_id)),
    )


def interleave(
    uncertain: Sequence[TraceScore], by_chance: Sequence[TraceScore], done: int = 0
) -> list[QueueItem]:
    """Merges both sequences, each score at most once: every RANDOM_EVERY-th one is random.

    Both hold the same scores in their own order, each as long as the result. `done` items of the
    queue came before these.
    """
    last = done + len(uncertain)
    chosen = by_chance[: last // RANDOM_EVERY - done // RANDOM_EVERY]
    ids = {one.id for one in chosen}
    rest = iter([one for one in uncertain if one.id not in ids])
    drawn_ones = iter(chosen)
    return [
        QueueItem(next(drawn_ones), SelectionReason.RANDOM)
        if place % RANDOM_EVERY == 0
        else QueueItem(next(rest), SelectionReason.UNCERTAIN)
        for place in range(done + 1, last + 1)
    ]


def daily_seed(project: ProjectId, name: str, now: datetime) -> str:
    """A seed that is constant during a day (UTC), so that repeated requests give the same queue."""
    text = f"{project} {now.date().isoformat()} {name}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def random_key(seed: str, trace: TraceId) -> str:
    """The key of the random order; in SQL `md5(seed || trace_id::text)`."""
    return hashlib.md5(f"{seed}{trace}".encode(), usedforsecurity=False).hexdigest()
