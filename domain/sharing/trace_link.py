"""Links to traces for readers without an account."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.ids import OrganizationId, ProjectId, TraceId, UserId
from domain.tracing.outline import TraceOutline
from domain.tracing.trace_detail import ShownSpan
from domain.tracing.usage import as_float, stated_amount

TOKEN_BYTES: Final = 32
LINK_DAYS_DEFAULT: Final = 30
LINK_DAYS_MAX: Final = 365
LINKS_PER_TRACE_MAX: Final = 20
LINKS_PER_PROJECT_MAX: Final = 1_000
LINKS_ARE_OFF: Final = (
    "This organization allows no public links: an OWNER or ADMIN can allow them in its settings"
)
TOO_MANY_OF_TRACE: Final = (
    f"This trace has {LINKS_PER_TRACE_MAX} public links, which is the most: revoke one"
)
TOO_MANY_OF_PROJECT: Final = (
    f"This project has {LINKS_PER_PROJECT_MAX} public links, which is the most: revoke one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLink:
    """A link as it is stored: by the digest of its token.

    `created_by` made it, with `creator` as email address at that time. If it is masked, it leaves
    out what `shown_outline` and `shown_span` remove. Scores are shown only if it has them.
    """

    id: UUID
    digest: bytes
    organization_id: OrganizationId
    project_id: ProjectId
    trace_id: TraceId
    is_masked: bool
    has_scores: bool
    created_by: UserId | None
    creator: str
    created_at: datetime
    expires_at: datetime

    def shown_outline(self, outline: TraceOutline) -> TraceOutline:
        """The outline without the user, and without session and tags if the link is masked."""
        summary = replace(outline.summary, user_id=None)
        if self.is_masked:
            summary = replace(summary, session_id=None, tags=())
        return replace(outline, summary=summary)

    def shown_span(self, span: ShownSpan) -> ShownSpan:
        """If the link is masked: without payloads, model parameters, usage, and error message.

        The cost is one amount then: senders choose the names of its parts.
        """
        if not self.is_masked:
            return span
        return span._replace(
            cost={"total": as_float(stated_amount(span.cost))} if span.cost else None,
            error=None,
            token_usage=None,
            model_parameters=None,
            input=None,
            output=None,
            metadata=None,
            input_preview=None,
            output_preview=None,
            metadata_preview=None,
        )
