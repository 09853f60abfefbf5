"""Alerts: conditions on the runs of a monitor, and when they are notified.

Each rule evaluates one figure of the monitor's runs, one run at a time as they end:

    OK ──breached `breaches` times in a row──▶ ALERTING ──clear `recoveries` times in a row──▶ OK
    any ──no data──▶ NO_DATA ──a value that isn't breached──▶ OK, or ALERTING as above

Values between the threshold and `clear_at` count for neither (hysteresis), so a figure that
oscillates around its threshold notifies once. Figures of fewer than `samples_min` executions are no
data.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

from domain.errors import FieldError, Invalid
from domain.evaluation.metrics.metric import THRESHOLD, is_rule_fingerprint
from domain.evaluation.scores.analytics import mean
from domain.ids import MonitorId, ProjectId, RunId
from domain.tracing.change import UNCHANGED, Unchanged, given_fields

RULES_MAX: Final = 20  # of one monitor
SAMPLES_MIN: Final = 5  # default: fewer scores aren't meaningful
SAMPLES_MIN_MAX: Final = 100_000
IN_A_ROW_MAX: Final = 100
_TOLERANCE: Final = 1e-9  # smaller differences are rounding errors


class AlertFigure(StrEnum):
    """The figure of a run that is evaluated, for one metric."""

    SCORE_MEAN = "score_mean"
    PASS_RATE = "pass_rate"  # noqa: S105 - of scores, no password
    FAILED_SHARE = "failed_share"
    SKIPPED_SHARE = "skipped_share"
    DROP = "drop"  # of the mean, compared with the runs before
    NO_DATA = "no_data"  # whether less was scored than the alert needs

    @property
    def is_bad_when_low(self) -> bool:
        return self in {AlertFigure.SCORE_MEAN, AlertFigure.PASS_RATE}


class AlertState(StrEnum):
    OK = "OK"
    ALERTING = "ALERTING"
    NO_DATA = "NO_DATA"


@dataclass(frozen=True, slots=True)
class RunMetricStats:
    """The results of a run for one metric: numbers and their mean, failures and skips.

    `passed` numbers meet the metric's threshold. `fingerprint` is that of the judge that gave the
    numbers; None if there is none, or several.
    """

    scored: int = 0
    mean: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    fingerprint: str | None = None

    @classmethod
    def from_scores(
        cls,
        numbers: Sequence[float],
        *,
        failed: int = 0,
        skipped: int = 0,
        threshold: float = THRESHOLD,
        fingerprints: Iterable[str] = (),
    ) -> Self:
        judges = {one for one in fingerprints if not is_rule_fingerprint(one)}
        return cls(
            scored=len(numbers),
            mean=mean(numbers) if numbers else 0.0,
            passed=sum(number >= threshold for number in numbers),
            failed=failed,
            skipped=skipped,
            fingerprint=judges.pop() if len(judges) == 1 else None,
        )

    def is_comparable_to(self, other: Self) -> bool:
        """Whether the same judge gave the numbers of both, as far as is known."""
        judges = {self.fingerprint, other.fingerprint}
        return None in judges or len(judges) == 1

    @property
    def executions(self) -> int:
        return self.scored + self.failed + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One alert condition. `threshold` and `clear_at` are in [0, 1]; NO_DATA ignores them.

    A figure that is bad when low breaches below `threshold` and is clear from `clear_at` on; other
    figures breach above it and are clear up to `clear_at`. Values that differ from a limit by a
    rounding error reach it: the mean of three scores of 0.7 is less than 0.7 as a double.
    """

    metric: str
    figure: AlertFigure
    threshold: float = 0.0
    clear_at: float = 0.0
    samples_min: int = SAMPLES_MIN
    breaches: int = 1
    recoveries: int = 1

    def __post_init__(self) -> None:
        wrong = [
            FieldError(name, "must be a number from 0 to 1")
            for name in ("threshold", "clear_at")
            if not 0.0 <= getattr(self, name) <= 1.0
        ]
        bounds = (
            ("samples_min", SAMPLES_MIN_MAX),
            ("breaches", IN_A_ROW_MAX),
            ("recoveries", IN_A_ROW_MAX),
        )
        wrong += [
            FieldError(name, f"must be from 1 to {most}")
            for name, most in bounds
            if not 1 <= getattr(self, name) <= most
        ]
        beyond = self.clear_at - self.threshold
        if not wrong and (beyond < 0 if self.figure.is_bad_when_low else beyond > 0):
            wrong.append(FieldError("clear_at", "must be on the good side of threshold, or equal"))
        if wrong:
            raise Invalid.fields(wrong)

    def value(self, run: RunMetricStats, before: Sequence[RunMetricStats]) -> float | None:
        """The figure; None for too few samples. NO_DATA is 0 or 1, and always defined.

        `before` are the runs that a drop is compared with, without those of another judge: together
        they need as many scores.
        """
        match self.figure:
            case AlertFigure.NO_DATA:
                return 0.0 if run.scored >= self.samples_min else 1.0
            case AlertFigure.FAILED_SHARE:
                return self._share(run.failed, run.executions)
            case AlertFigure.SKIPPED_SHARE:
                return self._share(run.skipped, run.executions)
            case AlertFigure.PASS_RATE:
                return self._share(run.passed, run.scored)
            case AlertFigure.SCORE_MEAN:
                return run.mean if run.scored >= self.samples_min else None
            case AlertFigure.DROP:
                return self._drop(run, before)

    def _share(self, some: int, every: int) -> float | None:
        return some / every if every >= self.samples_min else None

    def _drop(self, run: RunMetricStats, before: Sequence[RunMetricStats]) -> float | None:
        comparable = [one for one in before if one.is_comparable_to(run)]
        earlier = sum(one.scored for one in comparable)
        if min(run.scored, earlier) < self.samples_min:
            return None
        usual = math.fsum(one.mean * one.scored for one in comparable) / earlier
        return max(usual - run.mean, 0.0)

    def is_breached(self, value: float) -> bool:
        if self.figure is AlertFigure.NO_DATA:
            return value > 0
        return self._worse_by(value, self.threshold) > _TOLERANCE

    def is_clear(self, value: float) -> bool:
        if self.figure is AlertFigure.NO_DATA:
            return value == 0
        return self._worse_by(value, self.clear_at) <= _TOLERANCE

    def _worse_by(self, value: float, limit: float) -> float:
        return limit - value if self.figure.is_bad_when_low else value - limit

    def changed(self, change: "AlertRuleChange") -> Self:
        """Raises Invalid. A `clear_at` that equals the threshold follows it, unless it is given."""
        given = given_fields(change)
        if "threshold" in given and self.clear_at == self.threshold:
            given = {"clear_at": given["threshold"]} | given
        if given.get("clear_at", 0.0) is None:
            given["clear_at"] = given.get("threshold", self.threshold)
        return replace(self, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRuleChange:
    """New numbers of a rule; UNCHANGED keeps one. `clear_at` None: equal to the threshold.

    Metric and figure can't change: the state and its history are theirs.
    """

    threshold: float | Unchanged = UNCHANGED
    clear_at: float | Unchanged | None = UNCHANGED
    samples_min: int | Unchanged = UNCHANGED
    breaches: int | Unchanged = UNCHANGED
    recoveries: int | Unchanged = UNCHANGED


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertProgress:
    """The state of a rule, since when, and the consecutive values that count towards a change."""

    state: AlertState = AlertState.OK
    since: datetime
    consecutive: int = 0
    value: float | None = None

    def updated(self, rule: AlertRule, value: float | None, now: datetime) -> Self:
        """The alert after a run that ended with `value`. A different state must be notified."""
        if value is None:
            return replace(self._turned(AlertState.NO_DATA, None, now), consecutive=0)
        if self.state is AlertState.ALERTING:
            count = self.consecutive + 1 if rule.is_clear(value) else 0
            if count >= rule.recoveries:
                return self._turned(AlertState.OK, value, now)
            return replace(self, consecutive=count, value=value)
        count = self.consecutive + 1 if rule.is_breached(value) else 0
        if count >= rule.breaches:
            return self._turned(AlertState.ALERTING, value, now)
        if self.state is AlertState.NO_DATA and not count:  # a bad value must not be notified as OK
            return self._turned(AlertState.OK, value, now)
        return replace(self, consecutive=count, value=value)

    def _turned(self, state: AlertState, value: float | None, now: datetime) -> Self:
        if state is self.state:
            return replace(self, value=value)
        return replace(self, state=state, since=now, consecutive=0, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A rule of a monitor, and its progress."""

    id: UUID
    project_id: ProjectId
    monitor_id: MonitorId
    rule: AlertRule
    watch: AlertProgress
    created_at: datetime

    def changed(self, change: AlertRuleChange) -> Self:
        """Keeps the state; values in a row by the old rule count no longer. Raises Invalid."""
        rule = self.rule.changed(change)
        if rule == self.rule:
            return self
        return replace(self, rule=rule, watch=replace(self.watch, consecutive=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChange:
    """A change of an alert's state. `run_id`: the run that caused it, if any.

    `scored`, `failed` and `skipped` are the evaluations of the metric in that run: how much the
    value covers. They are None without a run.
    """

    id: UUID
    project_id: ProjectId
    monitor_id: MonitorId
    alert_id: UUID
    run_id: RunId | None
    before: AlertState
    after: AlertState
    value: float | None
    scored: int | None = None
    failed: int | None = None
    skipped: int | None = None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRunStats:
    """The results of a finished run of a monitor for one metric."""

    run: RunId
    completed_at: datetime
    stats: RunMetricStats


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedRun:
    """The state of an alert if it had existed after a run; `before` is its state before the run."""

    run: FinishedRunStats
    value: float | None
    before: AlertState
    after: AlertState


def preview_rule(
    rule: AlertRule, runs: Sequence[FinishedRunStats], shown: int, baseline: int
) -> list[PreviewedRun]:
    """The states of a new alert over the newest `shown` runs, in the order in which they ended.

    `runs` are in order of creation, the newest first. A drop is measured against up to `baseline`
    runs that were created before.
    """
    found, watch = list[PreviewedRun](), None
    numbered = sorted(enumerate(runs[:shown]), key=lambda one: (one[1].completed_at, one[1].run))
    for place, run in numbered:
        watch = watch or AlertProgress(since=run.completed_at)
        earlier = [one.stats for one in runs[place + 1 : place + 1 + baseline]]
        value = rule.value(run.stats, earlier)
        updated = watch.updated(rule, value, run.completed_at)
        found.append(PreviewedRun(run=run, value=value, before=watch.state, after=updated.state))
        watch = updated
    return found
