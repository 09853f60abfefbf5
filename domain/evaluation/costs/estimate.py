"""What a run will cost, as far as one can tell: some of its traces are looked into, and scaled up.

All of it is arithmetic on exact decimals; nothing is known of answers but how long they may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Self

from domain.evaluation.costs.judge_costs import ANSWER_TOKENS_MAX, BUDGET_PLACES

ANSWER_TOKENS_MIN: Final = 60  # of a verdict in one short sentence
ERRORS: Final = 2  # standard errors on each side: 95 of 100 times it lies in between

_PLACE: Final = Decimal(1).scaleb(-BUDGET_PLACES)
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Range:
    """What something is at least and at most, both included."""

    low: Decimal = _NOTHING
    high: Decimal = _NOTHING

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: Decimal) -> "Range":
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeWorkload:
    """What asking takes: of one pair, of a trace, or of a run.

    `remembered` of `pairs` are answered by a verdict that is known. `usd` is None where the judge
    has no price. Pairs that no judge is asked for are none.
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
        """Of a pair. One question has `tokens`, its longest answer `answer`.

        `prices` are those of one with the shortest answer, and with the longest.
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
    """What a run over `targets` will take, of which `looked_at` traces were looked into.

    Whole numbers, and USD to BUDGET_PLACES places, each rounded away from the middle.
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
        """Of what each trace takes that was looked into, of `traces` that there are in all."""
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
        """In words, what low and high rest on."""
        return (
            f"Traces that were looked into: {self.looked_at}. The others are taken to be like "
            f"them, with {ERRORS} standard errors on each side. At the low end each question is "
            f"asked once and answered in {ANSWER_TOKENS_MIN} tokens; at the high end up to "
            f"{self.votes} times, with {ANSWER_TOKENS_MAX} tokens an answer, and more of a "
            "checklist. Four bytes are taken for a token. What a model thinks before it answers "
            "isn't known, and comes on top. "
            "Answers that have to be mended and questions that fail and are asked again come on "
            "top; what a provider's own cache saves goes off."
        )


def extrapolate(seen: Sequence[Range], of: Range) -> Range:
    """What `of` things come to, of which those that are seen were picked evenly.

    Exact where all were seen; else their mean, and ERRORS standard errors of a sample without
    replacement, on each side, and never less than what was seen. Of a single one the spread isn't
    known: it is taken to be as large as itself.
    """
    if not seen:
        return Range()
    lows, highs = [one.low for one in seen], [one.high for one in seen]
    low, high = Decimal(sum(lows)), Decimal(sum(highs))
    if of.low > len(seen):
        low = max(low, of.low * _mean(lows, of.low, -ERRORS))
    if of.high > len(seen):
        high = max(high, of.high * _mean(highs, of.high, ERRORS))
    return Range(low, high)


def _mean(values: Sequence[Decimal], of: Decimal, errors: int) -> Decimal:
    """The mean of the whole, so many standard errors above or below what the sample says."""
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
    """At most so many of them, in their order, at even distances."""
    count = min(len(everything), most)
    return [everything[place * len(everything) // count] for place in range(count)]
