"""Edits of stored scores: who may make them, and what the audit log says about them.

A score with an author was written by a person. Only that person changes or deletes it, or an OWNER
or ADMIN, who is named in the record.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from domain.errors import Forbidden
from domain.evaluation.scores.score import DataType, Score, ScoreSource
from domain.identity.audit import Actor, AuditAction, AuditEntry
from domain.ids import AuditEntryId, OrganizationId, UserId

ONLY_ITS_AUTHOR: Final = (
    "A person wrote this score: only that person, or an OWNER or ADMIN who is signed in, may "
    "change or delete it"
)
ONLY_THEIR_AUTHORS: Final = (
    "People have written over scores of this run: delete it without delete_scores, or let an OWNER "
    "or ADMIN who is signed in delete it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreEdit:
    """One edit by a caller. `is_admin`: an OWNER or ADMIN of the organization."""

    organization_id: OrganizationId
    actor: Actor
    is_admin: bool
    at: datetime
    new_id: Callable[[], UUID]

    @property
    def user_id(self) -> UserId | None:
        """The person; None for an API key."""
        return self.actor.user_id

    def check(self, score: Score) -> None:
        """Raises Forbidden for a score that another person wrote."""
        if score.author_id not in {None, self.user_id} and not self.is_admin:
            raise Forbidden(ONLY_ITS_AUTHOR)

    def audit_entry(self, before: Score, after: Score | None) -> AuditEntry:
        """The entry for the audit log; `after` is None if the score was deleted."""
        return AuditEntry(
            id=AuditEntryId(self.new_id()),
            organization_id=self.organization_id,
            at=self.at,
            actor=self.actor,
            action=AuditAction.SCORE_DELETED if after is None else AuditAction.SCORE_CHANGED,
            resource_id=str(before.id),
            detail=_detail(before, after),
        )


def as_stated_by[S: Score](score: S, user: UserId | None, *, is_admin: bool) -> S:
    """A score of an export, as far as the caller who imports it is believed.

    An OWNER or ADMIN may state who gave a score. From another user or a key, an automated score is
    one of a program, and only the user themself is an author.
    """
    if is_admin:
        return score
    return replace(
        score,
        source=ScoreSource.PROGRAMMATIC if score.is_automated else score.source,
        author_id=user if score.author_id == user else None,
    )


def _detail(before: Score, after: Score | None) -> dict[str, str]:
    """Without free text, because the audit log outlives an erasure."""
    detail = {
        "project_id": str(before.project_id),
        "name": before.name,
        "source": before.source.value,
    }
    if before.author_id is not None:
        detail["author_id"] = str(before.author_id)
    if before.data_type is not DataType.CATEGORICAL:
        detail["from"] = _value_text(before)
        if after is not None:
            detail["to"] = _value_text(after)
    return detail


def _value_text(score: Score) -> str:
    return "none" if score.value is None else score.value
