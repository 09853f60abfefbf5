"""The judge that is a language model: renders questions, and parses verdicts from answers.

`clients.py` talks to providers. It is slow to load, so it is loaded with the first question.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from adapters.judges import wire
from domain.evaluation.evidence.evidence import BUILDER_VERSION
from domain.evaluation.judging import prompt
from domain.evaluation.judging.judge import (
    Answer,
    JudgeCall,
    JudgeRefused,
    JudgeUnavailable,
    Question,
)
from domain.evaluation.judging.models import provider_of
from domain.evaluation.judging.verdict import InvalidVerdict, parse_verdict
from domain.evaluation.metrics.metric import JudgeKind, Metric
from domain.evaluation.metrics.rubrics import PROTOCOL, AnswerFormat, Rubric
from domain.evaluation.scores.outcome import FailCode, SkipCode, Skipped

if TYPE_CHECKING:
    from adapters.judges.clients import ModelClient

REQUESTS_MAX: Final = 2  # the question, and one more if the answer was no verdict
COMPLAINT: Final = (
    "That is not a valid verdict: {fault}. Answer the question again, with one JSON object of the "
    "given schema and nothing else."
)
# The fields of a request besides the texts. The model's name decides which of these it gets.
PARAMETERS: Final = {
    "answer_tokens": wire.ANSWER_TOKENS,
    "check_tokens": wire.CHECK_TOKENS,
    "thought_tokens": wire.THOUGHT_TOKENS,
    "temperature": wire.TEMPERATURE,
}
_MODEL_NAME: Final = re.compile(r"[\x21-\x7e]{1,200}")  # a provider may report any name

_log: Final = logging.getLogger(__name__)

type Seconds = Callable[[], float]
"""A monotonic clock."""


@dataclass(slots=True, eq=False)
class ModelJudge:
    """Answers for the models of one provider: one request, and a second one to repair an answer.

    A request takes at most `attempt_s`, even if the question has more time left.
    """

    endpoint: wire.Endpoint
    clock: Seconds = time.monotonic
    attempt_s: float = wire.ATTEMPT_S
    _client: "ModelClient | None" = None
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def fingerprint(self, metric: Metric, model: str) -> str:
        self._name(model)
        _rubric(metric)
        return prompt.judge_fingerprint(
            metric,
            model=model,
            base_url=self.endpoint.base_url,
            parameters=PARAMETERS,
            evidence_version=BUILDER_VERSION,
        )

    async def ask(self, question: Question) -> Answer:
        until = self.clock() + question.deadline_s
        name, rubric = self._name(question.model), _rubric(question.metric)
        calls, is_cut = prompt.judged_calls([step.label for step in question.evidence.calls])
        if (
            rubric.answer_format is AnswerFormat.CHECKLIST and not calls
        ):  # the evidence had no room for any of them
            return Answer(outcome=Skipped(SkipCode.CANNOT_JUDGE), model=question.model)
        request = _request(question, rubric, calls)
        client = await self._open_client()
        made: list[JudgeCall] = []
        for _ in range(REQUESTS_MAX):
            began = self.clock()
            seconds = min(self.attempt_s, until - began)
            if seconds <= 0:
                raise JudgeUnavailable(FailCode.JUDGE_TIMEOUT, retry_after_s=0, calls=tuple(made))
            reply = await client.ask(name, request, seconds)
            call = self._call(question, reply, (self.clock() - began) * 1_000)
            if isinstance(reply, wire.ProviderError):
                made += [call] if reply.was_sent else []
                self._log_error(reply)
                if reply.code is not FailCode.BAD_VERDICT:
                    raise _failure(reply, tuple(made))
                continue
            try:
                verdict = parse_verdict(reply.text, rubric.answer_format, calls)
            except InvalidVerdict as bad:
                made.append(replace(call, code=FailCode.BAD_VERDICT))
                request = wire.repair_request(request, reply, COMPLAINT.format(fault=bad))
                continue
            made.append(call)
            outcome = verdict.outcome(question.evidence.labels)
            model = f"{call.provider}/{call.model}"
            marks = self._marks(question, model, is_cut=is_cut)
            marked = replace(outcome, metadata={**outcome.metadata, **marks})
            return Answer(outcome=marked, model=model, calls=tuple(made))
        _log.warning("a model gave no verdict", extra={"provider": self.endpoint.provider})
        raise JudgeRefused(FailCode.BAD_VERDICT, calls=tuple(made))

    async def close(self) -> None:
        """Closes the clients. To be called after the last question."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _open_client(self) -> "ModelClient":
        async with self._opening:
            if self._client is None:
                # In a thread: loading takes seconds, for which it would block the event loop.
                try:
                    self._client = await asyncio.to_thread(_load_client, self.endpoint)
                except Exception as fault:  # noqa: BLE001 - whatever it is, no question can be asked
                    extra = {"provider": self.endpoint.provider, "kind": type(fault).__name__}
                    _log.warning("can't open a client of this provider", extra=extra)
                    raise JudgeRefused(FailCode.MISCONFIGURED) from None  # it may quote a password
        return self._client

    def _name(self, model: str) -> str:
        """The name without the provider. Raises JudgeRefused for models of other providers."""
        name = model.partition("/")[2] if "/" in model else model
        if provider_of(model) != self.endpoint.provider or not name:
            raise JudgeRefused(FailCode.UNKNOWN_MODEL)
        return name

    def _call(
        self, question: Question, reply: wire.Reply | wire.ProviderError, latency_ms: float
    ) -> JudgeCall:
        model = self._name(question.model)
        if isinstance(reply, wire.Reply) and _MODEL_NAME.fullmatch(reply.model):
            model = reply.model
        return JudgeCall(
            provider=self.endpoint.provider,
            model=model,
            use=reply.use,
            latency_ms=latency_ms,
            code=reply.code if isinstance(reply, wire.ProviderError) else None,
        )

    def _marks(self, question: Question, model: str, *, is_cut: bool) -> dict[str, object]:
        """With what was shown of the evidence, which may be less than other metrics see."""
        evidence = question.evidence
        return {
            "truncated": is_cut or evidence.truncated,
            "omitted_steps": evidence.omitted_steps,
            "judge_kind": JudgeKind.MODEL.value,
            "model": model,
            "fingerprint": self.fingerprint(question.metric, question.model),
        }

    def _log_error(self, error: wire.ProviderError) -> None:
        level = logging.INFO if error.code.is_transient else logging.WARNING
        extra = {
            "provider": self.endpoint.provider,
            "code": error.code.value,
            "status": error.status,
            "kind": error.kind,
        }
        _log.log(level, "a request to a model failed", extra=extra)


def _failure(
    error: wire.ProviderError, calls: tuple[JudgeCall, ...]
) -> JudgeRefused | JudgeUnavailable:
    if not error.code.is_transient:
        return JudgeRefused(error.code, calls=calls)
    return JudgeUnavailable(error.code, retry_after_s=error.retry_after_s, calls=calls)


def _rubric(metric: Metric) -> Rubric:
    if metric.rubric is None:
        raise JudgeRefused(FailCode.MISCONFIGURED)
    return metric.rubric


def _request(question: Question, rubric: Rubric, calls: Sequence[str]) -> wire.Request:
    fenced = question.evidence.within_boundary(
        question.boundary, reasoning=question.metric.sees_reasoning, output=question.is_output_shown
    )
    return wire.Request(
        system=PROTOCOL,
        user=prompt.prompt_text(rubric, fenced, calls),
        schema=prompt.answer_schema(rubric.answer_format),
        max_tokens=wire.ANSWER_TOKENS
        + (wire.CHECK_TOKENS * len(calls) if rubric.answer_format is AnswerFormat.CHECKLIST else 0),
    )


def _load_client(endpoint: wire.Endpoint) -> "ModelClient":
    from adapters.judges.clients import ModelClient  # noqa: PLC0415 - loads a hundred megabytes

    return ModelClient(endpoint)
