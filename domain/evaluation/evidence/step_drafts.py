"""Steps before truncation: the redacted texts of a span, and the token budget of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from domain.evaluation.evidence.evidence import Step
from domain.evaluation.evidence.redaction import Redactor
from domain.evaluation.evidence.truncation import EMPTY_TEXT, RedactedText, one_line, prepare_text
from domain.evaluation.trace_content.messages import (
    ASSISTANT,
    decode_json,
    is_blank,
    last_message_text,
)
from domain.evaluation.trace_content.text import to_text
from domain.evaluation.trace_content.tool_calls import tool_arguments
from domain.tracing.span import Span, SpanKind, SpanStatus

NAME_TOKENS: Final = 30  # of a span or model name
DOCUMENTS_MAX: Final = 10  # of one retrieval; the best matches come first

_DOCUMENT_LISTS: Final = ("documents", "results", "matches", "docs", "hits")
_DOCUMENT_TEXTS: Final = ("page_content", "text", "content", "document")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBudget:
    """The tokens that each field may use; 0 omits it."""

    error: int = 400
    arguments: int = 400
    output: int = 600
    text: int = 300  # of a model's text, and the same again for its reasoning
    document: int = 300


FULL_BUDGET: Final = StepBudget()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDraft:
    """A step whose texts are redacted, but not truncated."""

    label: str
    span: Span
    name: str
    model: str = ""
    error: RedactedText = EMPTY_TEXT
    arguments: RedactedText = EMPTY_TEXT
    output: RedactedText = EMPTY_TEXT
    documents: tuple[RedactedText, ...] = ()
    text: RedactedText = EMPTY_TEXT
    reasoning: RedactedText = EMPTY_TEXT
    more_documents: bool = False

    def cut(self, to: StepBudget) -> Step:
        latency = self.span.latency_ms
        documents = [document.cut(to.document) for document in self.documents]
        return Step(
            label=self.label,
            kind=(self.span.kind or SpanKind.OTHER).value,
            name=self.name,
            status=(self.span.status or SpanStatus.UNSET).value,
            duration_ms=None if latency is None else round(latency),
            model=self.model,
            error=self.error.cut(to.error),
            arguments=self.arguments.cut(to.arguments),
            output=self.output.cut(to.output),
            documents=tuple(filter(None, documents)),
            text=self.text.cut(to.text),
            reasoning=self.reasoning.cut(to.text),
        )

    def fits(self, to: StepBudget) -> bool:
        """Whether `cut` loses nothing."""
        return not self.more_documents and all(
            text.fits(tokens)
            for text, tokens in (
                (self.error, to.error),
                (self.arguments, to.arguments),
                (self.output, to.output),
                (self.text, to.text),
                (self.reasoning, to.text),
                *((document, to.document) for document in self.documents),
            )
            if text is not EMPTY_TEXT
        )


def redact_line(text: str, tokens: int, redactor: Redactor) -> RedactedText:
    """Redacts a text that is printed in one line."""
    return prepare_text(one_line(text), tokens, redactor)


def draft_step(label: str, span: Span, redactor: Redactor) -> StepDraft:
    """The texts of a span that may be shown, depending on its kind."""

    def prepare(text: str, tokens: int) -> RedactedText:
        return prepare_text(text, tokens, redactor)

    draft = StepDraft(
        label=label,
        span=span,
        name=redact_line(span.name, NAME_TOKENS, redactor).cut(NAME_TOKENS),
        error=prepare(span.error or "", FULL_BUDGET.error),
    )
    if span.kind in {SpanKind.TOOL, SpanKind.RETRIEVER}:
        arguments = prepare(to_text(tool_arguments(span.input)), FULL_BUDGET.arguments)
        output = decode_json(span.output)
        if span.kind is SpanKind.TOOL:
            shown = prepare(to_text(output), FULL_BUDGET.output)
            return replace(draft, arguments=arguments, output=shown)
        documents = _documents(output)
        return replace(
            draft,
            arguments=arguments,
            documents=tuple(
                prepare(one, FULL_BUDGET.document) for one in documents[:DOCUMENTS_MAX]
            ),
            more_documents=len(documents) > DOCUMENTS_MAX,
        )
    if span.kind is SpanKind.LLM:
        message = last_message_text(ASSISTANT, decode_json(span.output))
        return replace(
            draft,
            model=redact_line(span.model or "", NAME_TOKENS, redactor).cut(NAME_TOKENS),
            text=prepare(message.text, FULL_BUDGET.text),
            reasoning=prepare(message.reasoning or _summary(span), FULL_BUDGET.text),
        )
    return draft


def _summary(span: Span) -> str:
    # The published SDK stores the reasoning summaries of providers here.
    if b"reasoning_summary" not in span.metadata:
        return ""
    metadata = decode_json(span.metadata)
    return to_text(metadata.get("reasoning_summary")) if isinstance(metadata, Mapping) else ""


def _documents(output: object) -> Sequence[str]:
    found = output
    if isinstance(output, Mapping):
        lists = (output[key] for key in _DOCUMENT_LISTS if isinstance(output.get(key), list))
        found = next(lists, output)
    if is_blank(found):
        return []
    return [_document(one) for one in found] if isinstance(found, list) else [_document(found)]


def _document(one: object) -> str:
    if isinstance(one, Mapping):
        texts = (one[key] for key in _DOCUMENT_TEXTS if isinstance(one.get(key), str))
        return next(texts, to_text(one))
    return to_text(one)
