"""Scores of traces, spans and sessions: their values, authors, and permitted changes."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final, Self

from domain.errors import Conflict, Invalid
from domain.evaluation.scores.outcome import (
    REASON_MAX,
    Failed,
    Outcome,
    Scored,
    SkipCode,
    Skipped,
    truncate_reason,
)
from domain.ids import ApiKeyId, ProjectId, RunId, ScoreId, SpanId, TraceId, UserId
from domain.page import Position
from domain.tracing.payloads.payload import (
    EMPTY_OBJECT,
    JsonText,
    merged_objects,
    object_members,
    scalar_members,
    without_key,
)
from domain.tracing.payloads.read_limit import ROW_BYTES

NAME_MAX: Final = 255
VALUE_MAX: Final = 255
SENT_REASON_MAX: Final = 100_000  # characters; a page may have 200 scores
METADATA_BYTES_MAX: Final = 512 << 10  # a run names up to 1,000 traces of a session
REVISIONS_MAX: Final = 20  # of one score
REVISION_METADATA_MAX: Final = 2_000  # bytes
JUDGE_KIND_CHARS_MAX: Final = 40  # that are stored by itself; the names of judges have fewer
BRIEF_SCORES_MAX: Final = 50  # of one trace in a list of traces
COUNTED_SCORES_MAX: Final = 50_000  # that match; more are not counted
ORIGINAL_VALUE: Final = "original_value"
# Keys of the metadata of a run's score that say which judge gave it, about what. Only the server
# writes them there; in other scores they are keys like any others.
PROVENANCE_KEYS: Final = ("judge_kind", "fingerprint", "evidence_hash", "model", "code")
_DECIMAL: Final = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class DataType(StrEnum):
    NUMERIC = "NUMERIC"
    BOOLEAN = "BOOLEAN"
    CATEGORICAL = "CATEGORICAL"


class ScoreTarget(StrEnum):
    """The kind of target of a score. Scores of different kinds are never combined."""

    TRACE = "trace"
    SPAN = "span"
    SESSION = "session"


class ScoreSource(StrEnum):
    AUTOMATED = "AUTOMATED"
    ANNOTATION = "ANNOTATION"
    PROGRAMMATIC = "PROGRAMMATIC"


class ScoreStatus(StrEnum):
    """The status that published clients know. They reject any other value."""

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class ScoreOutcome(StrEnum):
    """The state of a score. Unlike the status, it distinguishes failed from skipped."""

    PENDING = "pending"
    SCORED = "scored"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def status(self) -> ScoreStatus:
        match self:
            case ScoreOutcome.PENDING:
                return ScoreStatus.PENDING
            case ScoreOutcome.SCORED:
                return ScoreStatus.SUCCESS
            case ScoreOutcome.FAILED | ScoreOutcome.SKIPPED:
                return ScoreStatus.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreChange:
    """The changes of a PATCH; None means unchanged. `metadata` replaces the old metadata.

    `undo` takes the last change back instead.
    """

    value: str | None = None
    reason: str | None = None
    metadata: JsonText | None = None
    undo: bool = False

    @property
    def is_empty(self) -> bool:
        given = (self.value, self.reason, self.metadata)
        return not self.undo and all(one is None for one in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRevision:
    """A score before a change, and who changed it when: a user or an API key.

    `reason` is truncated, and then `reason_digest` is the SHA-256 of the whole one. `metadata` is
    None if it has more than REVISION_METADATA_MAX bytes.
    """

    changed_at: datetime
    user_id: UserId | None
    key_id: ApiKeyId | None
    value: str | None
    source: ScoreSource
    author_id: UserId | None
    reason: str | None
    metadata: JsonText | None
    reason_digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One named score of one target.

        PENDING ──worker, once──▶ SCORED, FAILED or SKIPPED; cancelling: SKIPPED
        any ──patched with a value──▶ SCORED

    A worker writes a score only while it is PENDING; a person may write it at any time, and a
    worker never overwrites what a person wrote. A score has a value if and only if it is SCORED.
    `value` is text of the data type, as it was given. `run_id` is None if no run created the score,
    or the run was deleted.
    """

    id: ScoreId
    project_id: ProjectId
    name: str
    outcome: ScoreOutcome
    value: str | None = None
    data_type: DataType = DataType.NUMERIC
    source: ScoreSource
    run_id: RunId | None = None
    author_id: UserId | None = None
    reason: str | None = None
    metadata: JsonText = EMPTY_OBJECT
    created_at: datetime
    updated_at: datetime
    history: tuple[ScoreRevision, ...] = ()  # the first, and the newest, REVISIONS_MAX in all

    def __post_init__(self) -> None:
        if (self.value is not None) is not (self.outcome is ScoreOutcome.SCORED):
            raise ValueError(f"a score that is {self.outcome} with the value {self.value!r}")

    @property
    def status(self) -> ScoreStatus:
        return self.outcome.status

    @property
    def target(self) -> ScoreTarget:
        raise NotImplementedError

    @property
    def size(self) -> int:
        """The approximate size in bytes, once read."""
        revisions = sum(len(one.reason or "") + len(one.metadata or b"") for one in self.history)
        return ROW_BYTES + len(self.reason or "") + len(self.metadata) + revisions

    @property
    def number(self) -> float | None:
        """The value as a number in [0, 1]; None if it isn't numeric or is missing."""
        if self.value is None or self.data_type is not DataType.NUMERIC:
            return None
        return float(self.value)

    @property
    def is_automated(self) -> bool:
        """Whether a run gave it, and nothing has changed it since."""
        return self.source is ScoreSource.AUTOMATED

    @property
    def has_machine_value(self) -> bool:
        """Whether a run gave the value, and changes have left it as it was."""
        if self.is_automated or not self.history:
            return self.is_automated
        is_machines = self.history[0].source is ScoreSource.AUTOMATED
        return is_machines and all(one.value == self.value for one in self.history)

    @property
    def judge_kind(self) -> str | None:
        """The kind of judge that gave the value; None if a person or a program gave it."""
        if not self.is_automated:
            return None
        return scalar_members(self.metadata).get("judge_kind")

    @property
    def threshold(self) -> float | None:
        """The least number that counts as success, from the metadata; None without a valid one."""
        text = scalar_members(self.metadata).get("threshold", "")
        return float(text) if is_unit_number(text) else None

    @property
    def code(self) -> str | None:
        """The code of a failed or skipped score, otherwise None."""
        if self.outcome in {ScoreOutcome.PENDING, ScoreOutcome.SCORED}:
            return None
        return scalar_members(self.metadata).get("code")

    def with_outcome(self, outcome: Outcome, now: datetime) -> Self:
        """The score after a worker's evaluation; unchanged if it isn't PENDING any more.

        If a person edited the pending score, their reason and their metadata keys are kept, except
        for PROVENANCE_KEYS.
        """
        if self.outcome is not ScoreOutcome.PENDING:
            return self
        return replace(
            self,
            outcome=_KINDS[type(outcome)],
            value=outcome.text if isinstance(outcome, Scored) else None,
            source=ScoreSource.AUTOMATED,
            reason=storable_text(outcome.reason) if self.reason is None else self.reason,
            metadata=self._metadata_after_evaluation(json_text(outcome.metadata)),
            updated_at=now,
        )

    def cancelled(self, now: datetime) -> Self:
        """The score after its run was cancelled: SKIPPED if it was PENDING."""
        return self.with_outcome(Skipped(SkipCode.CANCELLED), now)

    def patched(
        self,
        change: ScoreChange,
        now: datetime,
        author: UserId | None,
        key: ApiKeyId | None = None,
    ) -> Self:
        """The score after a change; unchanged if the change is empty. It is added to the history.

        `author` is the user, None for a key, which keeps the previous author. The first value that
        replaces a machine's value stores that as `original_value` in the metadata, null if the
        machine had none; later changes keep this entry. In a run's score, callers can't set the
        entry themselves, nor what PROVENANCE_KEYS names. Raises Invalid, naming `value`, and
        Conflict for a change that can't be taken back.
        """
        if change.is_empty:
            return self
        if change.undo:
            return self._before_last_change(now, author, key)
        value, outcome = self.value, self.outcome
        if change.value is not None:
            value, outcome = validate_value(change.value, self.data_type), ScoreOutcome.SCORED
        return replace(
            self,
            value=value,
            outcome=outcome,
            source=ScoreSource.ANNOTATION,
            reason=self.reason if change.reason is None else change.reason,
            metadata=self._metadata_after(change),
            author_id=author or self.author_id,
            updated_at=now,
            history=self._history_after(now, author, key),
        )

    def _before_last_change(
        self, now: datetime, author: UserId | None, key: ApiKeyId | None
    ) -> Self:
        """The score with the fields of before its last change; the history grows."""
        if not self.history:
            raise Conflict("This score was never changed")
        last = self.history[-1]
        # Mostly the change was of something else, and a long reason is still here as a whole.
        is_long = last.reason_digest is not None
        is_lost = is_long and last.reason_digest != _digest_of_long(self.reason)
        if last.value is None or last.metadata is None or is_lost:
            raise Conflict("What this score was before its last change isn't kept whole")
        return replace(
            self,
            value=last.value,
            outcome=ScoreOutcome.SCORED,
            source=last.source,
            reason=self.reason if is_long else last.reason,
            metadata=last.metadata,
            author_id=last.author_id,
            updated_at=now,
            history=self._history_after(now, author, key),
        )

    def _history_after(
        self, now: datetime, user: UserId | None, key: ApiKeyId | None
    ) -> tuple[ScoreRevision, ...]:
        revision = ScoreRevision(
            changed_at=now,
            user_id=user,
            key_id=key,
            value=self.value,
            source=self.source,
            author_id=self.author_id,
            reason=None if self.reason is None else truncate_reason(self.reason),
            metadata=self.metadata if len(self.metadata) <= REVISION_METADATA_MAX else None,
            reason_digest=_digest_of_long(self.reason),
        )
        known = self.history
        if len(known) >= REVISIONS_MAX:
            known = (known[0], *known[2:])
        return (*known, revision)

    def _metadata_after_evaluation(self, measured: JsonText) -> JsonText:
        if self.metadata == EMPTY_OBJECT:
            return measured
        return _with_provenance_of(measured, merged_objects(measured, self.metadata))

    def _metadata_after(self, change: ScoreChange) -> JsonText:
        known = object_members(self.metadata).get(ORIGINAL_VALUE)
        # A person may have changed only the reason before: the value is still the machine's.
        is_machines = self.source is ScoreSource.AUTOMATED or (
            self.run_id is not None and known is None
        )
        if change.value is not None and is_machines:
            known = json.dumps(self.value)
        after = self.metadata if change.metadata is None else change.metadata
        if change.metadata is not None and self.run_id is not None:
            after = _with_provenance_of(self.metadata, after)
            if change.value is not None or self.outcome is ScoreOutcome.SCORED:
                after = without_key(after, "code")  # of a failure that a value has replaced
        if known is None:
            return after if self.run_id is None else without_key(after, ORIGINAL_VALUE)
        return merged_objects(after, f'{{"{ORIGINAL_VALUE}":{known}}}'.encode())


def _digest_of_long(reason: str | None) -> str | None:
    """Identifies a reason that the history truncates; None for any other."""
    if reason is None or len(reason) <= REASON_MAX:
        return None
    return sha256(reason.encode(errors="surrogatepass")).hexdigest()


def _with_provenance_of(measured: JsonText, replacement: JsonText) -> JsonText:
    """The metadata that replaces that of a run's score, with the provenance of the latter."""
    members = object_members(measured)
    kept = [f"{json.dumps(key)}:{members[key]}" for key in PROVENANCE_KEYS if key in members]
    for key in PROVENANCE_KEYS:
        replacement = without_key(replacement, key)
    return merged_objects(replacement, f"{{{','.join(kept)}}}".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceScore(Score):
    """A score of a trace, or of one of its spans if `span_id` is set.

    A score of a span never stands for its trace. Runs don't score spans. `environment` is copied
    from the trace if a run created the score.
    """

    trace_id: TraceId
    span_id: SpanId | None = None
    environment: str | None = None

    def __post_init__(self) -> None:
        Score.__post_init__(self)
        if self.is_of_span and self.run_id is not None:
            raise ValueError(f"a score of the span {self.span_id} by the run {self.run_id}")

    @property
    def is_of_span(self) -> bool:
        return self.span_id is not None

    @property
    def target(self) -> ScoreTarget:
        return ScoreTarget.SPAN if self.is_of_span else ScoreTarget.TRACE


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionScore(Score):
    session_id: str

    @property
    def target(self) -> ScoreTarget:
        return ScoreTarget.SESSION


_KINDS: Final[Mapping[type, ScoreOutcome]] = {
    Scored: ScoreOutcome.SCORED,
    Skipped: ScoreOutcome.SKIPPED,
    Failed: ScoreOutcome.FAILED,
}


def newest_first[S: Score](scores: Iterable[S]) -> list[S]:
    """Sorted by (created_at, id), descending: the order of every list of scores."""
    return sorted(scores, key=lambda one: (one.created_at, one.id), reverse=True)


def latest_by_name[S: Score](scores: Iterable[S]) -> list[S]:
    """The newest score of each name, sorted by name. PENDING scores are left out.

    A name with scores of runs and other ones has two: that of a run first. So no score that a
    client sends takes the place of a judge's.
    """
    known = (one for one in scores if one.outcome is not ScoreOutcome.PENDING)
    newest = {(one.name, not one.is_automated): one for one in reversed(newest_first(known))}
    return [newest[key] for key in sorted(newest)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreBrief:
    """What a list of traces shows of a score."""

    id: ScoreId
    name: str
    outcome: ScoreOutcome
    value: str | None
    data_type: DataType
    source: ScoreSource
    judge_kind: str | None
    threshold: float | None
    created_at: datetime

    @property
    def passed(self) -> bool | None:
        """Whether the number reaches the threshold; None without a number or a threshold."""
        if self.threshold is None or self.value is None or self.data_type is not DataType.NUMERIC:
            return None
        return float(self.value) >= self.threshold

    @classmethod
    def from_score(cls, score: Score) -> Self:
        kind = score.judge_kind
        return cls(
            id=score.id,
            name=score.name,
            outcome=score.outcome,
            value=score.value,
            data_type=score.data_type,
            source=score.source,
            judge_kind=None if kind is None else storable_text(kind[:JUDGE_KIND_CHARS_MAX]),
            threshold=score.threshold,
            created_at=score.created_at,
        )


def scores_of_source[S: Score](scores: Iterable[S], source: ScoreSource | None) -> list[S]:
    """The scores of one name that may be combined: those of a source.

    Without a source: those of runs, if there are any, else all. Scores of runs and other ones are
    never combined, so that no client changes what judges are said to have measured.
    """
    known = list(scores)
    if source is not None:
        return [one for one in known if one.source is source]
    return [one for one in known if one.is_automated] or known


def validate_value(text: str, data_type: DataType) -> str:
    """Returns the value unchanged. Raises Invalid, naming `value`.

    NUMERIC is an ASCII decimal number within [0, 1], with an optional exponent; BOOLEAN is `true`
    or `false` in any case; CATEGORICAL is any text. At most VALUE_MAX characters.
    """
    if len(text) > VALUE_MAX:
        raise Invalid.field("value", f"must have at most {VALUE_MAX} characters")
    match data_type:
        case DataType.NUMERIC if not is_unit_number(text):
            raise Invalid.field("value", "must be a decimal number from 0 to 1, as a string")
        case DataType.BOOLEAN if text.lower() not in {"true", "false"}:
            raise Invalid.field("value", "must be true or false, as a string")
        case _:
            return text


def is_unit_number(text: str) -> bool:
    """Whether the text is a number within [0, 1], decided exactly, without rounding to a double."""
    if (found := _DECIMAL.fullmatch(text)) is None:
        return False
    if not found[2].strip("0."):
        return True  # zero, with any sign and exponent
    near = float(text)  # never raises: underflow gives 0.0, overflow infinity
    if found[1] == "-" or near > 1:
        return False
    return near < 1 or _is_at_most_one(text)


def _is_at_most_one(text: str) -> bool:
    # Near 1 the double may have been rounded down. The exponent is small: the digits are few.
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, part = mantissa.lstrip("+").partition(".")
    one = "1" + "0" * (len(part) - int(exponent or 0))
    return int(whole + part) <= int(one)


def storable_text(text: str) -> str:
    """Text that PostgreSQL can store: NUL and unpaired surrogates are replaced.

    A large text is nearly always storable, and searching it for a single character or encoding it
    takes a tenth of the time of the pattern.
    """
    if "\0" not in text and (text.isascii() or _is_encodable(text)):
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_text(value: Mapping[str, object]) -> JsonText:
    """A score's metadata in its stored form, compact JSON. Raises ValueError for NaN."""
    return json.dumps(
        _storable(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()


def _storable(value: object) -> object:
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, Mapping):
        return {storable_text(str(key)): _storable(inner) for key, inner in value.items()}
    return [_storable(one) for one in value] if isinstance(value, Sequence) else value


# Fields of a filter that must equal those of the score.
_EQUAL: Final = (
    *("trace_id", "span_id", "session_id", "environment", "name", "source", "status", "outcome"),
    *("data_type", "code", "run_id"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFilter:
    """Conditions that must all hold; None means no condition. Texts are compared exactly.

    `created_after` and `min_value` are inclusive, `created_before` and `below_value` exclusive;
    scores without a number match neither bound of values. `trace_id` and `environment` apply to
    trace scores, `session_id` to session scores; other scores don't match them. Scores of spans
    match only if `span_id` or `of_spans` is set, and then no other scores do.
    """

    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    of_spans: bool = False
    session_id: str | None = None
    environment: str | None = None
    name: str | None = None
    source: ScoreSource | None = None
    status: ScoreStatus | None = None
    outcome: ScoreOutcome | None = None
    data_type: DataType | None = None
    code: str | None = None
    run_id: RunId | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    min_value: float | None = None
    below_value: float | None = None

    def matches(self, score: Score) -> bool:
        within = CreatedWithin(self.created_after, self.created_before)
        return (
            within.matches(score)
            and self._has_value(score.number)
            and self.selects_spans is (score.target is ScoreTarget.SPAN)
            and all(getattr(self, name) in {None, getattr(score, name, None)} for name in _EQUAL)
        )

    def _has_value(self, number: float | None) -> bool:
        if number is None:
            return self.min_value is None and self.below_value is None
        is_high = self.min_value is None or number >= self.min_value
        return is_high and (self.below_value is None or number < self.below_value)

    @property
    def selects_spans(self) -> bool:
        return self.of_spans or self.span_id is not None


@dataclass(frozen=True, slots=True)
class CreatedWithin:
    """A range of creation times: `after` is inclusive, `before` exclusive; None means unbounded."""

    after: datetime | None = None
    before: datetime | None = None

    def matches(self, score: Score) -> bool:
        return self.includes(score.created_at)

    def includes(self, instant: datetime) -> bool:
        return (self.after is None or instant >= self.after) and (
            self.before is None or instant < self.before
        )


def list_position(score: Score) -> Position:
    """The position of a score in a list, which is sorted from newest to oldest."""
    return Position(score.created_at, score.id)
