"""No. 29: keys and prompts stay between judge and provider, even if the provider repeats them."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from adapters.judges.model import ModelJudge
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY
from application.evaluation.judging.judge_client import Retry, RetryTiming
from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from tests.support.builders.evaluated_traces import subject, tool
from tests.support.fakes.model_provider import (
    FORMATS,
    HANGS_UP,
    Fails,
    Format,
    Provider,
    Says,
    Told,
    provider,
)
from tests.support.fixtures.evaluation_harness import Laboratory, no_wait
from tests.support.fixtures.judge_policies import Ask, ask_through

KEY = "planted-key-8f31b7"
WORD = "planted-word-5c90aa"  # of a trace
STATUSES = (200, 307, 400, 401, 402, 403, 404, 422, 429, 500, 503, 529)


def echoing(status: int) -> Fails:
    """A provider that repeats the key, and what it was sent, wherever it can."""
    said = f"Incorrect key {KEY} for {WORD}"
    error = {"message": said, "type": said, "code": said, "status": said, "param": said}
    head = [("x-request-id", KEY), ("www-authenticate", KEY)]
    return Fails(status=status, body={"error": error, "message": said}, head=head)


async def everything_told(ask: Ask, there: Provider) -> str:
    question = Question(
        metric=TASK_COMPLETION,
        evidence=build_evidence(subject(tool(got=WORD), input=WORD, output="done")),
        boundary="0" * 16,
        model=there.model,
        deadline_s=30.0,
    )
    try:
        answer = await ask(question)
    except (JudgeRefused, JudgeUnavailable) as failure:
        return "".join([*map(_told, _chain(failure)), *traceback.format_exception(failure)])
    return repr(answer)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from _chain(error.__context__) if error.__context__ is not error.__cause__ else ()
        error = error.__cause__


def _told(error: BaseException) -> str:
    return f"{error!r} {error} {error.args} {vars(error)}"


@pytest.mark.parametrize("spoken", FORMATS, ids=lambda one: one.provider)
@pytest.mark.parametrize(
    "told",
    [*map(echoing, STATUSES), HANGS_UP, Says(text=f"{KEY} {WORD}"), Says(text=KEY, ended="filter")],
    ids=lambda one: str(getattr(one, "status", getattr(one, "ended", one))),
)
async def test_answers_errors_and_logs_contain_neither_key_nor_prompt(
    spoken: Format,
    told: Told,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with provider(spoken, told) as there:
        asked = ModelJudge(there.endpoint(KEY))
        retry = Retry(DEFAULT_POLICY.judge_attempts, RetryTiming(sleep=no_wait))
        heard = await everything_told(ask_through([retry], asked), there)
        heard += repr(asked) + repr(there.endpoint(KEY))
        assert there.got
        assert there.got[0].key == KEY
        await asked.close()
    logged = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert logged, "something is logged, so that this can fail"
    shown = "".join(capfd.readouterr())
    environment = json.dumps(dict(os.environ)) + " ".join(sys.argv)
    for told_of in (heard, logged, shown, environment):
        assert KEY not in told_of
        assert WORD not in told_of


@pytest.mark.parametrize("spoken", FORMATS, ids=lambda one: one.provider)
async def test_scores_do_not_contain_key(spoken: Format) -> None:
    for told in (*map(echoing, STATUSES), Says(text=f"{KEY}")):
        async with provider(spoken, told) as there:
            asked = ModelJudge(replace(there.endpoint(), api_key=KEY))
            policy = replace(DEFAULT_POLICY, judge_concurrency=1)
            lab = Laboratory(judge=asked, policy=policy)
            trace = lab.put(tool(got="x"))
            run = await lab.run("task_completion", trace, model=there.model)
            await lab.attempts(5)
            [score] = (await lab.of_run(run)).values()
            await asked.close()
        assert score.code
        assert KEY not in repr(score)
        assert lab.faults == []
