"""No. 29: keys and prompts are sent to the provider only, even if its responses repeat them."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest

from adapters.judges.model import ModelJudge
from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY
from application.evaluation.judging.judge_client import Retry, RetryTiming
from domain.evaluation.evidence.builder import build_evidence
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable, Question
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from tests.support.builders.evaluated_traces import subject, tool
from tests.support.fakes.model_provider import (
    CLOSE_CONNECTION,
    FORMATS,
    Format,
    HttpReply,
    ModelReply,
    Provider,
    Reply,
    provider,
)
from tests.support.fixtures.evaluation.evaluation_harness import EvaluationHarness, no_wait
from tests.support.fixtures.evaluation.judge_policies import Ask, ask_through
from tests.support.hypothesis_scale import sampled

KEY = "planted-key-8f31b7"
WORD = "planted-word-5c90aa"  # in a trace
STATUSES = (200, 307, 400, 401, 402, 403, 404, 422, 429, 500, 503, 529)


def echo_response(status: int) -> HttpReply:
    """A response that repeats the key and the prompt in every field."""
    text = f"Incorrect key {KEY} for {WORD}"
    error = {"message": text, "type": text, "code": text, "status": text, "param": text}
    headers = [("x-request-id", KEY), ("www-authenticate", KEY)]
    return HttpReply(status=status, body={"error": error, "message": text}, headers=headers)


async def ask_and_describe(ask: Ask, server: Provider) -> str:
    question = Question(
        metric=TASK_COMPLETION,
        evidence=build_evidence(subject(tool(got=WORD), input=WORD, output="done")),
        boundary="0" * 16,
        model=server.model,
        deadline_s=30.0,
    )
    try:
        answer = await ask(question)
    except (JudgeRefused, JudgeUnavailable) as failure:
        return "".join([*map(_describe, _causes(failure)), *traceback.format_exception(failure)])
    return repr(answer)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from _causes(error.__context__) if error.__context__ is not error.__cause__ else ()
        error = error.__cause__


def _describe(error: BaseException) -> str:
    return f"{error!r} {error} {error.args} {vars(error)}"


REPLIES: Final = [
    *map(echo_response, STATUSES),
    CLOSE_CONNECTION,
    ModelReply(text=f"{KEY} {WORD}"),
    ModelReply(text=KEY, finish_reason="filter"),
]


def name_of(one: Any) -> str:
    return str(getattr(one, "status", getattr(one, "finish_reason", one)))


@pytest.mark.parametrize(
    ("api_format", "reply"),
    [
        # Each reply in two of the formats by turns, and in all of them in `make test-all`.
        pytest.param(
            format_,
            reply,
            marks=pytest.mark.exhaustive if (n + turn) % 4 // 2 else (),
            id=f"{format_.provider}-{name_of(reply)}",
        )
        for turn, format_ in enumerate(FORMATS)
        for n, reply in enumerate(REPLIES)
    ],
)
async def test_answers_errors_and_logs_contain_neither_key_nor_prompt(
    api_format: Format,
    reply: Reply,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    async with provider(api_format, reply) as server:
        judge = ModelJudge(server.endpoint(KEY))
        retry = Retry(DEFAULT_POLICY.judge_attempts, RetryTiming(sleep=no_wait))
        description = await ask_and_describe(ask_through([retry], judge), server)
        description += repr(judge) + repr(server.endpoint(KEY))
        assert server.requests
        assert server.requests[0].key == KEY
        await judge.close()
    logged = "".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert logged, "without log records this test could not fail"
    output = "".join(capfd.readouterr())
    environment = json.dumps(dict(os.environ)) + " ".join(sys.argv)
    for text in (description, logged, output, environment):
        assert KEY not in text
        assert WORD not in text


@pytest.mark.parametrize("api_format", FORMATS, ids=lambda one: one.provider)
async def test_scores_do_not_contain_key(api_format: Format) -> None:
    async with provider(api_format) as server:
        judge = ModelJudge(replace(server.endpoint(), api_key=KEY))
        replies = (*map(echo_response, STATUSES), ModelReply(text=f"{KEY}"))
        for reply in sampled(replies, 4, FORMATS.index(api_format)):
            server.reply_with(reply)
            policy = replace(DEFAULT_POLICY, judge_concurrency=1)
            harness = EvaluationHarness(judge=judge, policy=policy)
            trace = harness.put(tool(got="x"))
            run = await harness.run("task_completion", trace, model=server.model)
            await harness.attempts(5)
            [score] = (await harness.scores_of_run(run)).values()
            assert score.code
            assert KEY not in repr(score)
            assert harness.faults == []
        await judge.close()
