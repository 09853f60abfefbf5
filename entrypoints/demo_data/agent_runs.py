"""Generates one synthetic run of an agent and its trace."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from random import Random
from typing import Final
from uuid import UUID

from domain.ids import SpanId, TraceId
from domain.tracing.payloads.payload import JsonText
from domain.tracing.span import Span, SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus
from entrypoints.demo_data import scenarios

SPANS_MIN: Final = 3
SPANS_MAX: Final = 30

_SLOW: Final = 0.02  # share of steps that take ten times as long
_STREAMED: Final = 0.7  # share of model calls
_SMALL: Final = 0.25  # share of model calls that go to the small model
_BYTES_PER_TOKEN: Final = 4
_MODEL_PARAMETERS: Final = (
    b'{"temperature":0.2,"max_tokens":1024}',
    b'{"temperature":0,"top_p":1,"max_tokens":4096}',
    b'{"temperature":0.7,"max_tokens":2048,"stop":["\\n\\n"]}',
)


class Outcome(Enum):
    COMPLETED = auto()
    RECOVERED = auto()  # a span failed, and the agent continued
    FAILED = auto()
    RUNNING = auto()
    PENDING = auto()


_OUTCOMES: Final = (  # of 1,000 traces
    (Outcome.COMPLETED,) * 922
    + (Outcome.RECOVERED,) * 20
    + (Outcome.FAILED,) * 48
    + (Outcome.RUNNING,) * 7
    + (Outcome.PENDING,) * 3
)
_STATUS: Final = {
    Outcome.FAILED: TraceStatus.ERROR,
    Outcome.RUNNING: TraceStatus.RUNNING,
    Outcome.PENDING: TraceStatus.PENDING,
}


@dataclass(slots=True)
class Conversation:
    """The agent, user and environment of related runs. `session` is None for a single run."""

    script: scenarios.Script
    session: str | None
    user: str | None
    customer: str
    environment: str
    traces_left: int


@dataclass(slots=True)
class Frame:
    """The draft of a span, with times in seconds from the start of its trace."""

    step: scenarios.Step
    id: SpanId
    parent: SpanId | None
    start: float
    end: float
    open: bool = False
    error: str | None = None


@dataclass(slots=True)
class Run:
    """Generates a trace. All choices come from `random`, in a fixed order."""

    random: Random
    conversation: Conversation
    started_at: datetime
    release: str
    outcome: Outcome = field(init=False)
    model: str = field(init=False)
    question: bytes = field(init=False)

    def __post_init__(self) -> None:
        script = self.conversation.script
        self.outcome = self._pick(_OUTCOMES)
        self.model = self._pick(script.agent.models)
        self.question = b"%b Reference %d." % (
            self._pick(script.questions),
            self.random.getrandbits(30),
        )

    def trace(self) -> Trace:
        agent, conversation = self.conversation.script.agent, self.conversation
        frames = [] if self.outcome is Outcome.PENDING else self._frames()
        spans = tuple(map(self._span, frames))
        request = b'{"messages":[{"role":"user","content":"%b"}]}' % self.question
        response = spans[0].output if spans else None
        return Trace(
            id=TraceId(self._uuid()),
            name=agent.name,
            started_at=self.started_at,
            status=_STATUS.get(self.outcome, TraceStatus.COMPLETED),
            ended_at=spans[0].ended_at if spans else None,
            session_id=conversation.session,
            user_id=conversation.user,
            environment=conversation.environment,
            release=self.release,
            input=request,
            output=response,
            metadata=self._metadata(),
            tags=self._tags(),
            spans=spans,
        )

    def _frames(self) -> list[Frame]:
        """The root, and below it or its chains the steps of the agent, in sequence."""
        random, agent = self.random.random, self.conversation.script.agent
        # Short runs are more frequent than long ones; the mean is ten spans.
        share = (random() ** 3 + random() ** 3) / 2
        count = SPANS_MIN + int((SPANS_MAX - SPANS_MIN + 1) * share)
        finishes = self.outcome in {Outcome.COMPLETED, Outcome.RECOVERED}
        root = Frame(
            scenarios.Step(SpanKind.AGENT, agent.name, 0), SpanId(self._uuid()), None, 0, 0
        )
        frames, parent, clock = [root], root, 0.01 + 0.05 * random()
        for number in range(count - 1):
            is_last = finishes and number == count - 2
            step = agent.answer if is_last else agent.steps[number % len(agent.steps)]
            if is_last or step.kind is SpanKind.CHAIN:
                parent = root
            seconds = step.seconds * (0.4 + 1.2 * random()) * (10 if random() < _SLOW else 1)
            frame = Frame(step, SpanId(self._uuid()), parent.id, clock, clock + seconds)
            frames.append(frame)
            clock += seconds + 0.002
            if step.kind is SpanKind.CHAIN:
                parent = frame
            parent.end = root.end = clock
        self._apply_outcome(frames, parent)
        return frames

    def _apply_outcome(self, frames: Sequence[Frame], parent: Frame) -> None:
        """Makes a span fail, or leaves the last one and its ancestors open."""
        last = frames[-1]
        if self.outcome is Outcome.RUNNING:
            last.open = parent.open = frames[0].open = True
        elif self.outcome is Outcome.FAILED:
            last.error = parent.error = frames[0].error = self._error(last)
        elif self.outcome is Outcome.RECOVERED:
            candidates = [frame for frame in frames[1:-1] if frame.step.kind in scenarios.ERRORS]
            failed = self._pick(candidates or [last])
            failed.error = self._error(failed)

    def _span(self, frame: Frame) -> Span:
        kind = frame.step.kind
        asked, out = self._payloads(frame.step)
        answered = None if frame.open or frame.error is not None else out
        status = SpanStatus.OK if frame.error is None else SpanStatus.ERROR
        model = cost = usage = parameters = first = None
        if kind is SpanKind.LLM or kind is SpanKind.EMBEDDING:
            model = self._model(kind)
            prompt, completion = len(asked) // _BYTES_PER_TOKEN, 0
            if answered is not None:
                if kind is SpanKind.LLM:
                    completion = len(answered) // _BYTES_PER_TOKEN
                usage = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}' % (
                    prompt,
                    completion,
                    prompt + completion,
                )
                cost = self._cost(model, prompt, completion)
            if kind is SpanKind.LLM:
                parameters = _MODEL_PARAMETERS[prompt % len(_MODEL_PARAMETERS)]
                if answered is not None and self.random.random() < _STREAMED:
                    first = self._at(frame.start + 0.2 * (frame.end - frame.start))
        return Span(
            id=frame.id,
            name=frame.step.name,
            started_at=self._at(frame.start),
            parent_id=frame.parent,
            kind=kind,
            status=SpanStatus.UNSET if frame.open else status,
            ended_at=None if frame.open else self._at(frame.end),
            completion_started_at=first,
            error=frame.error,
            model=model,
            input=asked,
            output=answered,
            metadata=b'{"customer":"%b"}' % self.conversation.customer.encode(),
            token_usage=usage,
            model_parameters=parameters,
            cost=cost,
        )

    def _payloads(self, step: scenarios.Step) -> tuple[JsonText, JsonText]:
        """The input and the output of a step, a few kB together."""
        script, question = self.conversation.script, self.question

        def text() -> bytes:
            return self._pick(script.paragraphs)

        match step.kind:
            case SpanKind.LLM:
                return (
                    b'{"messages":[{"role":"system","content":"%b"},{"role":"user","content":"%b"},'
                    b'{"role":"user","content":"Known so far: %b %b"}]}'
                    % (script.system, question, text(), text()),
                    b'{"role":"assistant","content":"%b"}' % text(),
                )
            case SpanKind.RETRIEVER:
                return b'{"query":"%b","k":4}' % question, b"[%b]" % b",".join(
                    b'{"id":"doc-%d","score":%.4f,"text":"%b"}'
                    % (int(9_000 * self.random.random()), 0.9 - 0.1 * place, text())
                    for place in range(4)
                )
            case SpanKind.EMBEDDING:
                return (
                    b'{"texts":["%b","%b"]}' % (question, text()),
                    b'{"vectors":2,"dimensions":1536}',
                )
            case SpanKind.AGENT:
                return (
                    b'{"messages":[{"role":"user","content":"%b"}]}' % question,
                    b'{"messages":[{"role":"assistant","content":"%b"}]}' % text(),
                )
            case _:
                return (
                    b'{"arguments":{"query":"%b","reference":%d}}'
                    % (question, self.random.getrandbits(20)),
                    b'{"ok":true,"rows":[{"id":1,"text":"%b"},{"id":2,"text":"%b"}]}'
                    % (text(), text()),
                )

    def _model(self, kind: SpanKind) -> str:
        if kind is SpanKind.EMBEDDING:
            return scenarios.EMBEDDER
        return scenarios.SMALL_MODEL if self.random.random() < _SMALL else self.model

    def _cost(self, model: str, prompt: int, completion: int) -> dict[str, float] | None:
        if not self.conversation.script.agent.tells_cost:
            return None
        per_million = scenarios.RATES[model]
        parts = (prompt * per_million[0] / 1e6, completion * per_million[1] / 1e6)
        if prompt % 2:
            return {"total": round(sum(parts), 8)}
        return {"input": round(parts[0], 8), "output": round(parts[1], 8)}

    def _error(self, frame: Frame) -> str:
        return self._pick(scenarios.ERRORS.get(frame.step.kind, scenarios.ERRORS[SpanKind.TOOL]))

    def _metadata(self) -> JsonText:
        attempt = 1 + int(3 * self.random.random() ** 8)
        return b'{"customer":"%b","region":"%b","channel":"%b","attempt":%d,"cached":%b}' % (
            self.conversation.customer.encode(),
            self._pick(scenarios.REGIONS).encode(),
            self._pick(scenarios.CHANNELS).encode(),
            attempt,
            b"true" if self.random.random() < 0.1 else b"false",  # noqa: PLR2004 - one of ten
        )

    def _tags(self) -> tuple[str, ...]:
        tag, rare = self.conversation.script.agent.tag, self.random.random()
        if rare < 0.002:  # noqa: PLR2004 - a share
            return (tag, "incident")
        if rare < 0.05:  # noqa: PLR2004 - a share
            return (tag, "canary")
        return (tag, "reviewed") if rare < 0.2 else (tag,)  # noqa: PLR2004 - a share

    def _at(self, seconds: float) -> datetime:
        return self.started_at + timedelta(microseconds=int(seconds * 1e6))

    def _uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def _pick[T](self, options: Sequence[T]) -> T:
        return options[int(self.random.random() * len(options))]
