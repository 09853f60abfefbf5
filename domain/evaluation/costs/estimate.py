"""Estimates the cost of a run by extrapolating from a sample of its traces.

All arithmetic uses exact decimals. Of answers, only the maximum length is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Self

from domain.evaluation.costs.judge_costs import ANSWER_TOKENS_MAX, BUDGET_PLACES

ANSWER_TOKENS_MIN: Final = 60  # of a verdict in one short sentence
STANDARD_ERRORS: Final = 2  # on each side: an interval of about 95 %

_PLACE: Final = Decimal(1).scaleb(-BUDGET_PLACES)
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Range:
    """A minimum and a maximum, both inclusive."""

    low: Decimal = _NOTHING
    high: Decimal = _NOTHING

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: Decimal) -> "Range":
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeWorkload:
    """The judge work for one pair, for a trace, or for a run.

    `remembered` of `pairs` have a cached verdict. `usd` is None if the judge has no price. Pairs
    without a judge aren't counted.
    """

    pairs: int = 0
    remembered: int = 0
    questions: Range = Range()
    input_tokens: Range = Range()
    output_tokens: Range = Range()
    usd: Range | None = Range()

    @classmethod
    def for_question(
        cls, questions: tuple[int, int], tokens: int, answer: int, prices: Range | None
    ) -> Self:
        """The work of one pair. A question has `tokens` tokens, its longest answer `answer`.

        `prices` are those of a question with the shortest and with the longest answer.
        """
        low, high = map(Decimal, questions)
        return cls(
            pairs=1,
            remembered=int(low == 0),
            questions=Range(low, high),
            input_tokens=Range(low, high).times(Decimal(tokens)),
            output_tokens=Range(low * ANSWER_TOKENS_MIN, high * answer),
            usd=None if prices is None else Range(low * prices.low, high * prices.high),
        )

    def __add__(self, other: "JudgeWorkload") -> "JudgeWorkload":
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return JudgeWorkload(
            pairs=self.pairs + other.pairs,
            remembered=self.remembered + other.remembered,
            questions=self.questions + other.questions,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            usd=usd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The estimate for a run over `targets`, from a sample of `looked_at` traces.

    Counts are whole numbers and USD has BUDGET_PLACES places; low ends are rounded down, high ends
    up.
    """

    model: str
    votes: int
    targets: int
    looked_at: int
    questions: Range
    input_tokens: Range
    output_tokens: Range
    usd: Range | None
    remembered_share: float

    @classmethod
    def from_sample(
        cls, model: str, votes: int, targets: int, looked_at: Sequence[JudgeWorkload], traces: Range
    ) -> Self:
        """Extrapolates from the workload of each sampled trace to `traces`, the total number."""
        pairs = sum(one.pairs for one in looked_at)
        remembered = sum(one.remembered for one in looked_at)
        priced = [one.usd for one in looked_at if one.usd is not None]
        return cls(
            model=model,
            votes=votes,
            targets=targets,
            looked_at=len(looked_at),
            questions=_whole(extrapolate([one.questions for one in looked_at], traces)),
            input_tokens=_whole(extrapolate([one.input_tokens for one in looked_at], traces)),
            output_tokens=_whole(extrapolate([one.output_tokens for one in looked_at], traces)),
            usd=_rounded(extrapolate(priced, traces), _PLACE)
            if len(priced) == len(looked_at)
            else None,
            remembered_share=remembered / pairs if pairs else 0.0,
        )

    @property
    def assumptions(self) -> str:
        """A text that explains what the low and high ends are based on."""
        return (
            f"Sampled traces: {self.looked_at}. The others are assumed to be similar, within "
            f"{STANDARD_ERRORS} standard errors on each side. At the low end each question is "
            f"asked once and answered in {ANSWER_TOKENS_MIN} tokens; at the high end up to "
            f"{self.votes} times, with {ANSWER_TOKENS_MAX} tokens per answer, and more for a "
            "checklist. A token is assumed to have four bytes. Not included: reasoning tokens of "
            "models, repaired answers, and retries of failed questions, which cost more; and "
            "savings by a provider's prompt cache."
        )


def extrapolate(seen: Sequence[Range], of: Range) -> Range:
    """The total for `of` items, from an evenly picked sample.

    Exact if all items were seen. Otherwise the mean, with STANDARD_ERRORS standard errors of a
    sample without replacement on each side, and never less than the sample itself. For a single
    item the spread is unknown; it is assumed to be as large as the value.
    """
    if not seen:
        return Range()
    lows, highs = [one.low for one in seen], [one.high for one in seen]
    low, high = Decimal(sum(lows)), Decimal(sum(highs))
    if of.low > len(seen):
        low = max(low, of.low * _mean(lows, of.low, -STANDARD_ERRORS))
    if of.high > len(seen):
        high = max(high, of.high * _mean(highs, of.high, STANDARD_ERRORS))
    return Range(low, high)


def _mean(values: Sequence[Decimal], of: Decimal, errors: int) -> Decimal:
    """The mean of the population, `errors` standard errors above the mean of the sample."""
    count = Decimal(len(values))
    mean = sum(values, _NOTHING) / count
    if count == 1:
        variance = mean * mean
    else:
        variance = sum(((one - mean) ** 2 for one in values), _NOTHING) / (count - 1)
    unseen = (of - count) / (of - 1)
    return mean + errors * (variance / count * unseen).sqrt()


def _whole(found: Range) -> Range:
    return _rounded(found, Decimal(1))


def _rounded(found: Range, place: Decimal) -> Range:
    return Range(found.low.quantize(place, ROUND_FLOOR), found.high.quantize(place, ROUND_CEILING))


def evenly_spaced[T](everything: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` items, in order, at even distances."""
    count = min(len(everything), most)
    return [everything[place * len(everything) // count] for place in range(count)]
