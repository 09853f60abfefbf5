"""The evidence for and against a fulfilled request, in the features of a trace.

Each finding has a weight in log-odds: 0 is no evidence, 2 is odds of 7 to 1. The weights were set
by the tuned half of the labelled traces in the tests; docs/evaluation/metrics.md reports the other
half.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from domain.evaluation.evidence.answer_features import AnswerFeatures
from domain.evaluation.evidence.evidence import Evidence
from domain.evaluation.evidence.features import ToolCallFeatures
from domain.wording import counted, noun_of

REPEATS_FLAGGED_FROM: Final = 2  # calls with the request and output of an earlier call
FAILURES_FLAGGED_FROM: Final = 3
SAME_CALL_FLAGGED_FROM: Final = 3  # calls with the same request, whatever their output
REPEATED_SHARE_MIN: Final = 0.4  # of the word sequences of an answer
WORDS_GROUNDED_FROM: Final = 0.5  # of an answer's words
WORDS_UNGROUNDED_BELOW: Final = 0.3


@dataclass(frozen=True, slots=True)
class Finding:
    """`name` is a word for programs, `reason` a sentence for people."""

    name: str
    weight: float
    reason: str


def findings(evidence: Evidence) -> Iterable[Finding]:
    """All findings in the evidence of a trace, in no particular order."""
    yield from _of_run(evidence)
    yield from _of_calls(evidence)
    yield from _of_wording(evidence)
    yield from _of_form(evidence.signs.answer)
    yield from _of_sources(evidence.signs.answer)


def _of_run(evidence: Evidence) -> Iterable[Finding]:
    signs = evidence.signs
    if evidence.status == "ERROR":
        yield Finding("run_failed", -3.0, "The run ended with an error")
    if signs.open_todos:
        yield Finding(
            "open_todos",
            -2.5,
            f"{counted(signs.open_todos, 'item')} of the task list "
            f"{noun_of(signs.open_todos, 'is', 'are')} open",
        )
    if signs.last_check_passed is False:
        yield Finding("check_failed", -2.5, "The last test, build or program that ran has failed")
    if signs.last_check_passed is True:
        yield Finding("check_passed", 1.5, "The last test, build or program that ran has passed")
    if signs.has_no_result and not signs.answer.admits_failure:
        yield Finding("no_result", -2.5, "Nothing was found, and the answer doesn't say so")


def _of_calls(evidence: Evidence) -> Iterable[Finding]:
    calls, answer = evidence.signs.calls, evidence.signs.answer
    if answer.claims_action and all(one.is_reading or one.has_failed for one in calls):
        yield Finding("claim_without_call", -2.0, "The answer claims what no tool did")
    if not calls:
        return
    if (tripped := _tripped(calls)) is not None:
        yield Finding("loop", -4.0, tripped)
    yield _last_call(calls[-1])
    if _has_abandoned(calls):
        yield Finding("unrecovered", -0.7, "A tool call failed, and was not made good")
    if 0 < sum(not one.has_failed for one in calls) < len(evidence.plan):
        yield Finding("unfinished_plan", -0.8, "The plan has more items than there were calls")
    if answer.missing_terms:
        yield Finding("missing_terms", -2.5, "A part of the request is in no call and no answer")
    elif answer.unhandled_terms and not answer.known_terms:
        yield Finding("unhandled_terms", -1.0, "No call contains what the request names")
    elif answer.known_terms:
        yield Finding("handled_terms", 0.7, "The calls contain what the request names")


def _last_call(last: ToolCallFeatures) -> Finding:
    if last.has_failed:
        reason = "The last tool call failed, and nothing made it good"
        return Finding("last_call_failed", -2.5, reason)
    if last.is_denied:
        return Finding("last_call_denied", -2.5, "The last tool call says that it did nothing")
    return Finding("calls_succeeded", 0.8, "The last tool call succeeded")


def _has_abandoned(calls: Sequence[ToolCallFeatures]) -> bool:
    """Whether a call before the last failed, and no later call of its tool succeeded."""
    last_good = {one.tool: at for at, one in enumerate(calls) if not one.has_failed}
    return any(
        one.has_failed and at > last_good.get(one.tool, -1) for at, one in enumerate(calls[:-1])
    )


def _of_wording(evidence: Evidence) -> Iterable[Finding]:
    answer = evidence.signs.answer
    if answer.declines:
        yield Finding("refusal", -3.0, "The answer declines the request")
    elif answer.admits_failure:
        yield Finding("admits_failure", -2.0, "The answer says that it didn't succeed")
    if answer.announces_work:
        yield Finding("announces_work", -2.5, "The answer announces work instead of its result")
    if answer.asks_back:
        yield Finding("asks_back", -2.5, "The answer ends with a question")
    if answer.is_wrong_language:
        yield Finding("wrong_language", -3.0, "The answer is in another language than expected")
    if answer.is_expected_translation:
        yield Finding("translated", 1.0, "The answer is in the language that was asked for")
    if answer.leaks_secret:
        yield Finding("secret", -3.0, "The answer contains a secret")


def _of_form(answer: AnswerFeatures) -> Iterable[Finding]:
    if answer.is_cut:
        yield Finding("cut", -2.5, "The answer was cut by a length limit")
    if answer.is_raw:
        yield Finding("raw", -3.5, "The answer is an error, a tool call, or has placeholders")
    if answer.repeated_share >= REPEATED_SHARE_MIN:
        yield Finding("repetition", -2.5, "The answer repeats itself")
    if answer.is_copied:
        yield Finding("not_summarised", -2.0, "The summary is as long as the text")
    if answer.is_asked_json is False:
        yield Finding("no_json", -2.5, "The answer isn't the JSON that was asked for")
    if answer.missing_keys:
        yield Finding("missing_keys", -2.5, "The JSON lacks keys that the request names")
    if answer.grounded_values is not None:
        if answer.grounded_values < 1:
            yield Finding("invented_values", -2.0, "The JSON has values that occur nowhere")
        elif not answer.missing_keys:
            yield Finding("extracted", 2.0, "Each value of the JSON occurs in the source")


def _of_sources(answer: AnswerFeatures) -> Iterable[Finding]:
    if answer.wrong_equations:
        yield Finding("wrong_sum", -3.0, "The answer contains a sum that is wrong")
    elif answer.has_asked_result is False:
        yield Finding("wrong_result", -3.0, "The answer isn't the result of the sum in the request")
    elif answer.has_asked_result or answer.right_equations:
        yield Finding("right_sum", 1.5, "The sums in the answer are right")
    if answer.grounded_numbers is not None:
        if answer.grounded_numbers < 1:
            weight = -2.0 - 1.0 * (1 - answer.grounded_numbers)
            yield Finding("invented_numbers", weight, "The answer has numbers that occur nowhere")
        else:
            yield Finding(
                "grounded_numbers", 1.0, "Each number of the answer occurs in the sources"
            )
    if answer.grounded_words is not None:
        if answer.grounded_words >= WORDS_GROUNDED_FROM:
            yield Finding("grounded_words", 1.0, "The words of the answer occur in the sources")
        elif answer.grounded_words < WORDS_UNGROUNDED_BELOW:
            yield Finding("ungrounded_words", -1.5, "The words of the answer occur in no source")
    if answer.negates_otherwise:
        yield Finding(
            "contradiction", -2.5, "The answer negates what a source says, or the reverse"
        )


def _tripped(calls: Sequence[ToolCallFeatures]) -> str | None:
    repeats, failed = sum(one.is_repeat for one in calls), sum(one.has_failed for one in calls)
    most = max((one.asked_before + 1 for one in calls), default=0)
    if repeats >= REPEATS_FLAGGED_FROM:
        return f"{repeats} tool calls repeat an earlier one"
    if failed >= FAILURES_FLAGGED_FROM:
        return f"{failed} tool calls failed"
    if most >= SAME_CALL_FLAGGED_FROM:
        return f"One tool call was made {most} times"
    return None
