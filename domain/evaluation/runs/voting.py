"""Votes: one question asked several times, where one answer isn't enough to tell.

A verdict near the threshold flips when it is asked again (arXiv 2606.13685), one far from it
hardly ever does: only the former is worth more questions.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Final

from domain.errors import Invalid
from domain.evaluation.scores.outcome import Scored

VOTE_COUNTS: Final = (1, 3, 5)  # votes that there may be, and what they escalate to
NEAR_THRESHOLD: Final = 0.2  # of the threshold
_HAIR: Final = 1e-9  # 0.8 - 0.6 is a little more than 0.2


def validate_votes(votes: int) -> None:
    """Raises Invalid, naming `votes`."""
    if votes not in VOTE_COUNTS:
        raise Invalid.field("votes", f"must be one of {', '.join(map(str, VOTE_COUNTS))}")


def votes_needed(values: Sequence[float], threshold: float, most: int) -> int:
    """How many more votes to ask for, of `most` in all: 0 where these are enough.

    More are due while their mean is within NEAR of the threshold, or they lie on both of its sides.
    """
    step = next((one for one in VOTE_COUNTS if one > len(values)), len(values))
    sides = {value >= threshold for value in values}
    is_near = abs(fmean(values) - threshold) <= NEAR_THRESHOLD + _HAIR
    return max(0, min(step, most) - len(values)) if is_near or len(sides) > 1 else 0


def questions_needed(known: Sequence[float | None], threshold: float) -> tuple[int, int]:
    """How many questions asking takes, at least and at most.

    `known` has each vote that there may be, in order: its value where it is remembered.
    """
    if known[0] is None:
        return 1, known.count(None)
    values = [known[0]]
    while due := votes_needed(values, threshold, len(known)):
        step = known[len(values) : len(values) + due]
        if missing := step.count(None):
            return missing, known[len(values) :].count(None)
        values += [value for value in step if value is not None]
    return 0, 0


def combine_votes(votes: Sequence[Scored], threshold: float) -> Scored:
    """One outcome of several, at least one, in the order in which they were asked.

    The mean of a scale, the majority of a checklist call by call, of which a tie decides nothing.
    Reason and marks are those of the vote that is nearest to it, of equals the first. `agreement`
    is the share of votes on the side of the threshold where the outcome lies, `stderr` the
    standard error of their mean. A single vote stays as it is.
    """
    if len(votes) == 1:
        return votes[0]
    values = [vote.value for vote in votes]
    lists = [vote.metadata.get("verdicts") for vote in votes]
    calls = _majority([one for one in lists if isinstance(one, list)])
    value = fmean(one["verdict"] == "yes" for one in calls) if calls else fmean(values)
    nearest = min(votes, key=lambda vote: abs(vote.value - value))
    agreeing = sum((one >= threshold) is (value >= threshold) for one in values)
    told: dict[str, object] = {
        "votes": values,
        "agreement": agreeing / len(votes),
        "stderr": stdev(values) / sqrt(len(values)),
    }
    if calls:
        told["verdicts"] = calls
    return Scored(value, nearest.reason, {**nearest.metadata, **told})


def _majority(lists: Sequence[list[dict[str, object]]]) -> list[dict[str, object]]:
    """The calls that more votes say yes to than no, or the other way round, in their order."""
    said: dict[object, list[dict[str, object]]] = {}
    for checks in lists:
        for check in checks:
            said.setdefault(check["call"], []).append(check)
    decided = []
    for checks in said.values():
        count = Counter(check["verdict"] for check in checks)
        [(verdict, most), *rest] = count.most_common()
        if not rest or most > rest[0][1]:
            decided.append(next(check for check in checks if check["verdict"] == verdict))
    return decided
