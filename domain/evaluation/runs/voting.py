"""Votes: one question is asked several times if the first answer isn't decisive.

A verdict near the threshold often flips when the judge is asked again (arXiv 2606.13685); one far
from it hardly ever does. So only the former is worth more questions.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Final

from domain.errors import Invalid
from domain.evaluation.metrics.rubrics import checklist_reason
from domain.evaluation.scores.outcome import Scored, SkipCode, Skipped

VOTE_COUNTS: Final = (1, 3, 5)  # permitted numbers of votes, in the order of escalation
NEAR_THRESHOLD: Final = 0.2  # distance from the threshold
_EPSILON: Final = 1e-9  # 0.8 - 0.6 is slightly more than 0.2


def validate_votes(votes: int) -> None:
    """Raises Invalid, naming `votes`."""
    if votes not in VOTE_COUNTS:
        raise Invalid.field("votes", f"must be one of {', '.join(map(str, VOTE_COUNTS))}")


def votes_needed(values: Sequence[float], threshold: float, most: int) -> int:
    """How many more votes to ask for, of at most `most`; 0 if these are enough.

    More are needed while their mean is within NEAR_THRESHOLD of the threshold, or while they lie on
    both sides of it.
    """
    step = next((one for one in VOTE_COUNTS if one > len(values)), len(values))
    sides = {value >= threshold for value in values}
    is_near = abs(fmean(values) - threshold) <= NEAR_THRESHOLD + _EPSILON
    return max(0, min(step, most) - len(values)) if is_near or len(sides) > 1 else 0


def questions_needed(known: Sequence[float | None], threshold: float) -> tuple[int, int]:
    """The minimum and maximum number of questions to ask.

    `known` holds each possible vote, in order: its value if it is cached.
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


def combine_votes(votes: Sequence[Scored], threshold: float) -> Scored | Skipped:
    """Combines at least one vote, in the order of asking.

    For a scale, the mean; for a checklist, the majority for each call, where a tie decides nothing.
    Skipped if no call is decided. Reason and metadata are those of the vote nearest to the result,
    the first of equals; the reason of a checklist, which counts its calls, is that of the result.
    `agreement` is the share of votes on the result's side of the threshold, `stderr` the standard
    error of their mean. A single vote is returned unchanged.
    """
    if len(votes) == 1:
        return votes[0]
    values = [vote.value for vote in votes]
    every = [vote.metadata.get("verdicts") for vote in votes]
    lists = [one for one in every if isinstance(one, list)]
    calls = _majority(lists)
    if lists and not calls:
        marks = {**_marks_of(votes[0]), "votes": values}
        return Skipped(SkipCode.CANNOT_JUDGE, "the votes are tied on each call", marks)
    mean = fmean(one["verdict"] == "yes" for one in calls) if calls else fmean(values)
    value = Scored(mean, "").value  # as it is stored: 0.4, 1 and 1 give a bit less than 0.8
    nearest = min(votes, key=lambda vote: abs(vote.value - value))
    agreeing = sum((one >= threshold) is (value >= threshold) for one in values)
    details: dict[str, object] = {
        "votes": values,
        "agreement": agreeing / len(votes),
        "stderr": stdev(values) / sqrt(len(values)),
    }
    if not calls:
        return Scored(value, nearest.reason, {**nearest.metadata, **details})
    verdicts: dict[str, object] = {"verdicts": calls}
    if undecided := _count_asked(nearest) - len(calls):
        verdicts["undecided"] = undecided
    yes = sum(one["verdict"] == "yes" for one in calls)
    metadata = {**_marks_of(nearest), **details, **verdicts}
    return Scored(value, checklist_reason(yes, len(calls)), metadata)


def _marks_of(vote: Scored) -> dict[str, object]:
    """The metadata of a vote without the verdicts on calls."""
    left_out = {"verdicts", "undecided"}
    return {name: one for name, one in vote.metadata.items() if name not in left_out}


def _count_asked(vote: Scored) -> int:
    """How many calls the checklist has, decided or not."""
    verdicts, undecided = vote.metadata.get("verdicts"), vote.metadata.get("undecided")
    decided = len(verdicts) if isinstance(verdicts, list) else 0
    return decided + (undecided if isinstance(undecided, int) else 0)


def _majority(lists: Sequence[list[dict[str, object]]]) -> list[dict[str, object]]:
    """The calls with a majority for yes or no, in the order of their labels.

    A vote has only the calls that it decided.
    """
    checks_by_call: dict[str, list[dict[str, object]]] = {}
    for checks in lists:
        for check in checks:
            checks_by_call.setdefault(str(check["call"]), []).append(check)
    decided = []
    for _, checks in sorted(checks_by_call.items(), key=lambda one: _place(one[0])):
        count = Counter(check["verdict"] for check in checks)
        [(verdict, most), *rest] = count.most_common()
        if not rest or most > rest[0][1]:
            decided.append(next(check for check in checks if check["verdict"] == verdict))
    return decided


def _place(label: str) -> list[int]:
    """The place of a step by its label: `s2.1` comes before `s2.10` and `s10`."""
    return [int(number) for number in label.removeprefix("s").split(".")]
