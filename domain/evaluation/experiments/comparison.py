"""The gate: compares two experiments by rules, and may answer that it can't tell.

rule          a limit of a metric or figure
loss          what a rule limits, by item: a drop, or what is above a ratio or below a least value
verdict       pass, regressed, inconclusive or incomplete
noise floor   the drop that a baseline shows against itself
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from domain.errors import FieldError, Invalid
from domain.evaluation.datasets.dataset import ITEMS_MAX
from domain.evaluation.experiments.experiment import REPETITIONS_MAX, Experiment, NoiseFloor
from domain.evaluation.experiments.intervals import MeanEstimate, Range, estimate_mean
from domain.evaluation.experiments.measurements import (
    NO_VALUES,
    Figure,
    Measurements,
    Repeated,
    item_means,
    variance_within,
)
from domain.evaluation.metrics.metric import is_rule_fingerprint
from domain.wording import counted

RULES_MAX: Final = 50
NEW_FAILURES_MAX: Final = 50  # that are shown
ITEMS_MIN: Final = 5  # with fewer no verdict but "inconclusive" is given
MAX_DROP: Final = 0.05  # of a metric without a rule
CONFIDENCE: Final = 0.95
COVERAGE: Final = 0.95
_TOLERANCE: Final = 1e-9  # smaller differences of scores are rounding errors
_DIFFERENCES: Final = Range(low=-1, high=1, flat=frozenset({0.0}))
_LEVELS: Final = Range(low=-1, high=0, flat=frozenset({-1.0, 0.0}))


class Verdict(StrEnum):
    """A comparison has the most severe verdict of its rules.

    The order of severity is regressed, incomplete, inconclusive, pass.
    """

    REGRESSED = "regressed"
    INCOMPLETE = "incomplete"
    INCONCLUSIVE = "inconclusive"
    PASS = "pass"  # noqa: S105 - no password


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over several; "incomplete" over none, since nothing was checked."""
    order = list(Verdict)
    return min(verdicts, key=order.index, default=Verdict.INCOMPLETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Exactly one limit of a metric or of a figure.

    `max_drop`: how much lower the mean may be. `min`: the least mean. `max_ratio`: how many times
    the mean of the baseline a figure may be.
    """

    metric: str
    max_drop: float | None = None
    min: float | None = None
    max_ratio: float | None = None
    confidence: float = CONFIDENCE

    @property
    def is_of_figure(self) -> bool:
        return self.metric in set(Figure)

    @property
    def text(self) -> str:
        name, limit = next(
            (name, one)
            for name in ("max_drop", "min", "max_ratio")
            if (one := getattr(self, name)) is not None
        )
        return f"{self.metric}: {name} {limit:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`coverage` is the least share of cases with a score, of each metric and side.

    `min_kappa` is the least agreement of a judge with people, where there are enough labels.
    """

    rules: Sequence[Rule] = ()
    coverage: float = COVERAGE
    min_kappa: float | None = None

    def for_metrics(self, metrics: Iterable[str]) -> Sequence[Rule]:
        """The rules; without any, one of MAX_DROP for each metric."""
        return self.rules or [Rule(metric=one, max_drop=MAX_DROP) for one in metrics]


def validate_rules(
    rules: Sequence[Rule], metrics: Iterable[str], noise_floor: Mapping[str, float]
) -> None:
    """Raises Invalid for rules of unknown metrics, without one limit, or within the noise floor."""
    known, errors = {*metrics}, list[FieldError]()

    def refuse(index: int, name: str, message: str) -> None:
        errors.append(FieldError(f"rules.{index}.{name}", message, is_semantic=True))

    for index, rule in enumerate(rules):
        limits = [rule.max_drop, rule.min, rule.max_ratio]
        if sum(one is not None for one in limits) != 1:
            refuse(index, "metric", "needs exactly one of max_drop, min and max_ratio")
        elif rule.is_of_figure and rule.max_ratio is None:
            refuse(index, "metric", "latency, tokens and cost have the limit max_ratio")
        elif not rule.is_of_figure and rule.max_ratio is not None:
            refuse(index, "max_ratio", "is a limit of latency_ms, tokens and cost_usd")
        elif not rule.is_of_figure and rule.metric not in known:
            refuse(index, "metric", "isn't a metric of both experiments")
        elif rule.max_drop is not None and rule.max_drop < noise_floor.get(rule.metric, 0.0):
            floor = noise_floor[rule.metric]
            message = (
                f"is narrower than the noise floor {floor:.4f}: the baseline differs from itself "
                "by as much. Allow more, or measure more repetitions"
            )
            refuse(index, "max_drop", message)
    if errors:
        raise Invalid.fields(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The differences because of which two experiments can't be compared."""

    what: str  # "dataset version", "split", "set of metrics", or "fingerprint"
    metric: str | None = None
    base: Sequence[str]
    candidate: Sequence[str]


def judges_of(measured: Measurements, metric: str) -> Sequence[str]:
    """The fingerprints of the scores of a metric, sorted, without those of prechecks."""
    found = measured.metrics.get(metric, NO_VALUES).fingerprints
    return sorted(one for one in found if not is_rule_fingerprint(one))


def floors_of(floors: Mapping[str, NoiseFloor], measured: Measurements) -> dict[str, float]:
    """The noise floors, by metric, that are of the judges of `measured`.

    A metric that wasn't measured has none.
    """
    return {
        metric: floor.drop
        for metric, floor in floors.items()
        if metric in measured.metrics and [*floor.fingerprints] == judges_of(measured, metric)
    }


def find_mismatches(
    base: tuple[Experiment, Measurements],
    candidate: tuple[Experiment, Measurements],
    metrics: Iterable[str],
) -> list[Mismatch]:
    """Why these experiments are different tests, or scored differently; empty if they aren't.

    Scores of one metric by several judges differ too: each item might have another one. What a
    metric decides by itself, such as an answer without a word, is the same for all judges.
    """
    (old, old_side), (new, new_side) = base, candidate
    found = list[Mismatch]()
    if old.version.digest != new.version.digest:
        digests = [old.version.digest.hex()], [new.version.digest.hex()]
        found.append(Mismatch(what="dataset version", base=digests[0], candidate=digests[1]))
    if old.split != new.split:
        splits = [old.split or ""], [new.split or ""]
        found.append(Mismatch(what="split", base=splits[0], candidate=splits[1]))
    for metric in metrics:
        prints = [judges_of(one, metric) for one in (old_side, new_side)]
        if max(map(len, prints)) > 1 or (all(prints) and prints[0] != prints[1]):
            found.append(
                Mismatch(what="fingerprint", metric=metric, base=prints[0], candidate=prints[1])
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """About what would decide a rule, if the means stay as they are.

    `items` are more items, `repetitions` how many each side needs in all; None if as many aren't
    allowed, or nothing is known of them. The costs are those of agents and judges for the cases
    that are added; None if it isn't known what a case costs.
    """

    items: int | None
    items_cost_usd: Decimal | None
    repetitions: int | None
    repetitions_cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """The verdict of a rule on `items`, those that both sides have scored.

    `change` is the candidate's mean minus that of the baseline, for `max_ratio` their ratio, for
    `min` the candidate's mean. Its interval is two-sided, of the rule's confidence. `p_value` is
    that of the test that the limit holds. `why` says what the verdict follows from.
    """

    rule: Rule
    verdict: Verdict
    why: str
    items: int
    base_coverage: float
    candidate_coverage: float
    base_mean: float | None = None
    candidate_mean: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    kappa: float | None = None
    needed: Needed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The fields that all rules of a comparison share. A case costs `case_cost_usd`.

    `names` are those of both sides in texts.
    """

    base: Measurements
    candidate: Measurements
    rules: int = 1
    coverage: float = COVERAGE
    min_kappa: float | None = None
    kappas: Mapping[str, float] | None = None
    case_cost_usd: Decimal | None = None
    names: tuple[str, str] = ("the baseline", "the candidate")

    def check(self, rule: Rule) -> RuleResult:
        """The verdict of one rule, which must be valid."""
        old, new = self._values(self.base, rule), self._values(self.candidate, rule)
        base, candidate = item_means(old), item_means(new)
        shared = sorted(candidate.keys() if rule.min is not None else base.keys() & candidate)
        made = _Checked(rule, shared, (old, new), (base, candidate))
        covered = [_coverage(self.base, old), _coverage(self.candidate, new)]
        kappa = (self.kappas or {}).get(rule.metric)
        verdict, why, needed = self._decide(made, kappa)
        low, high = made.interval
        return RuleResult(
            rule=rule,
            verdict=verdict,
            why=why,
            items=len(shared),
            base_coverage=covered[0],
            candidate_coverage=covered[1],
            base_mean=_mean(base[one] for one in shared if one in base),
            candidate_mean=_mean(candidate[one] for one in shared),
            change=made.change,
            low=low,
            high=high,
            p_value=made.p_value,
            kappa=kappa,
            needed=needed,
        )

    @staticmethod
    def _values(side: Measurements, rule: Rule) -> Repeated:
        if rule.is_of_figure:
            return side.figures.get(Figure(rule.metric), {})
        return side.metrics.get(rule.metric, NO_VALUES).values

    def _uncovered(self, made: "_Checked") -> str:
        """How many numbers the sides with too few of them lack; empty if both have enough."""
        sides = zip(self.names, (self.base, self.candidate), (made.old, made.new), strict=True)
        lacking = [
            _lacking_text(name, side, values, made.rule)
            for name, side, values in list(sides)[made.rule.min is not None :]
            if _coverage(side, values) < self.coverage
        ]
        required = f"{100 * self.coverage:g}% of the cases need one"
        return f"{' and '.join(lacking)}; {required}" if lacking else ""

    def _decide(self, made: "_Checked", kappa: float | None) -> tuple[Verdict, str, Needed | None]:
        rule = made.rule
        if uncovered := self._uncovered(made):
            return Verdict.INCOMPLETE, uncovered, None
        least = self.min_kappa
        if kappa is not None and least is not None and kappa < least - _TOLERANCE:
            agrees = f"the judge agrees with people by a kappa of {_floored(kappa, 2)}"
            return Verdict.INCONCLUSIVE, f"{agrees}, and {least:g} is required", None
        loss = made.loss
        if loss is None or loss.high is None or loss.n < ITEMS_MIN:
            return Verdict.INCONCLUSIVE, f"fewer than {ITEMS_MIN} items can be compared", None
        # Several rules have several chances to find a regression that isn't there.
        level = (1 - rule.confidence) / 2 / self.rules
        if made.p_value is not None and made.p_value <= level:
            return Verdict.REGRESSED, "the limit is exceeded beyond chance", None
        if loss.high <= made.limit + made.tolerance:
            return Verdict.PASS, "the whole interval is within the limit", None
        return Verdict.INCONCLUSIVE, "the interval contains the limit", self._needed(made, loss)

    def _needed(self, made: "_Checked", loss: MeanEstimate) -> Needed:
        """Both computed from how much narrower the interval has to be."""
        distance = abs(loss.mean - made.limit)
        above = loss.mean > made.limit
        low, high = loss.low or 0.0, loss.high or 0.0
        half = loss.mean - low if above else high - loss.mean
        if distance <= made.tolerance or half <= 0:
            return Needed(
                items=None, items_cost_usd=None, repetitions=None, repetitions_cost_usd=None
            )
        factor = (half / distance) ** 2
        more = max(1, math.ceil(loss.n * factor) - loss.n)
        items = more if loss.n + more <= ITEMS_MAX else None
        present = self.base.repetitions, self.candidate.repetitions
        repetitions = made.repetitions(factor, present)
        counted = present if made.weights[1] else present[1:]
        each = sum(present)
        return Needed(
            items=items,
            items_cost_usd=self._cost(None if items is None else items * each),
            repetitions=repetitions,
            repetitions_cost_usd=self._cost(
                None
                if repetitions is None
                else loss.n * sum(max(0, repetitions - one) for one in counted)
            ),
        )

    def _cost(self, cases: int | None) -> Decimal | None:
        if cases is None or self.case_cost_usd is None:
            return None
        return self.case_cost_usd * cases


class _Checked:
    """The losses of one rule; differences up to `tolerance` are rounding errors."""

    def __init__(
        self,
        rule: Rule,
        shared: Sequence[str],
        values: tuple[Repeated, Repeated],
        means: tuple[Mapping[str, float], Mapping[str, float]],
    ) -> None:
        self.rule, self.shared = rule, shared
        self.old, self.new = values
        base, candidate = means
        within: Range | None
        # A loss is weight_new * candidate + weight_old * baseline.
        if rule.min is not None:
            self.weights, self.limit, within = (-1.0, 0.0), -rule.min, _LEVELS
        elif rule.max_drop is not None:
            self.weights, self.limit, within = (-1.0, 1.0), rule.max_drop, _DIFFERENCES
        else:
            self.weights, self.limit, within = (1.0, -(rule.max_ratio or 0.0)), 0.0, None
        weight, weight_old = self.weights
        losses = [weight * candidate[one] + weight_old * base.get(one, 0.0) for one in shared]
        self.loss = estimate_mean(losses, rule.confidence, within)
        self.tolerance = _TOLERANCE
        if rule.max_ratio is not None:  # a figure has any unit
            self.tolerance *= max((abs(weight * candidate[one]) for one in shared), default=0.0)
        self.p_value: float | None = None
        if self.loss is not None:
            self.p_value = self.loss.p_above(self.limit, self.tolerance)
        self._pairs = [(base.get(one, 0.0), candidate[one]) for one in shared]

    @property
    def change(self) -> float | None:
        if self.loss is None:
            return None
        if self.rule.max_ratio is None:
            return 0.0 - self.loss.mean  # without a change 0.0 and not -0.0
        return self._ratio

    @property
    def _ratio(self) -> float | None:
        base = math.fsum(old for old, _ in self._pairs)
        return math.fsum(new for _, new in self._pairs) / base if base > 0 else None

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval of `change`; of a ratio by the delta method."""
        if self.loss is None or self.loss.low is None or self.loss.high is None:
            return None, None
        if self.rule.max_ratio is None:
            return 0.0 - self.loss.high, 0.0 - self.loss.low
        ratio = self._ratio
        if ratio is None:
            return None, None
        base = math.fsum(old for old, _ in self._pairs) / len(self._pairs)
        rest = estimate_mean([new - ratio * old for old, new in self._pairs], self.rule.confidence)
        half = 0.0 if rest is None or rest.high is None else (rest.high - rest.mean) / base
        return max(0.0, ratio - half), ratio + half

    def repetitions(self, factor: float, present: Sequence[int]) -> int | None:
        """How many repetitions of each side make the variance `factor` times smaller.

        A side that has as many already needs no more. `present` are those of both sides.
        """
        loss = self.loss
        if loss is None or loss.error is None:
            return None
        within = 0.0
        per_case = list[float]()
        for values, weight in ((self.new, self.weights[0]), (self.old, self.weights[1])):
            if weight:
                found = variance_within(values, [one for one in self.shared if one in values])
                if found is None:
                    return None
                per_case.append(weight**2 * found)
        sides = (present[1], present[0])
        within = sum(one / sides[at] for at, one in enumerate(per_case))
        between = max(0.0, loss.n * loss.error**2 - within)
        wanted = loss.n * loss.error**2 / factor - between
        if wanted <= 0 or not sum(per_case):
            return None
        needed = math.ceil(sum(per_case) / wanted)
        fewest = min(sides[: len(per_case)])
        return needed if fewest < needed <= REPETITIONS_MAX else None


def _coverage(side: Measurements, values: Repeated) -> float:
    return sum(map(len, values.values())) / side.cases


def _lacking_text(name: str, side: Measurements, values: Repeated, rule: Rule) -> str:
    lacking = side.cases - sum(map(len, values.values()))
    what = rule.metric if rule.is_of_figure else f"score of {rule.metric}"
    cases_text = f"{lacking:,} of {counted(side.cases, 'case')}"
    return f"{name}: no {what} in {cases_text} (no result in {side.cases - side.results:,})"


def _floored(value: float, places: int) -> str:
    """Rounded down: a number that is too low must not look like the one that is required."""
    scale: int = 10**places
    return f"{math.floor(value * scale + _TOLERANCE) / scale:.{places}f}"


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return math.fsum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFailure:
    """An item whose mean reaches the threshold in the baseline, and doesn't in the candidate."""

    metric: str
    item: str
    base: float
    candidate: float
    threshold: float


def new_failures(base: Measurements, candidate: Measurements, metric: str) -> list[NewFailure]:
    """The items of a metric with a threshold that newly fail; the largest drop first."""
    old, new = base.metrics.get(metric, NO_VALUES), candidate.metrics.get(metric, NO_VALUES)
    least = new.threshold
    if least is None:
        return []
    before, after = item_means(old.values), item_means(new.values)
    found = [
        NewFailure(metric=metric, item=item, base=one, candidate=after[item], threshold=least)
        for item, one in before.items()
        if item in after and after[item] < least - _TOLERANCE <= one
    ]
    return sorted(found, key=lambda one: (one.candidate - one.base, one.item))


def noise_floor(
    side: Measurements, metric: str, confidence: float = CONFIDENCE
) -> NoiseFloor | None:
    """The drop that a baseline shows against itself by chance, at its number of repetitions.

    From its halves: their mean difference and the half of Student's interval, as far as they shrink
    with twice as many repetitions. None if fewer than ITEMS_MIN items are in both.
    """
    halves = side.halves()
    first, second = (item_means(one.metrics.get(metric, NO_VALUES).values) for one in halves)
    differences = [second[one] - value for one, value in first.items() if one in second]
    found = estimate_mean(differences, confidence)
    if found is None or found.n < ITEMS_MIN or found.low is None or found.high is None:
        return None
    here = sum(1 / one.repetitions for one in halves)
    drop = max(0.0 - found.low, found.high) * math.sqrt(2 / side.repetitions / here)
    return NoiseFloor(drop, tuple(judges_of(side, metric)))
