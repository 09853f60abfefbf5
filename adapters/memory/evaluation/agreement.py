"""The agreement of judges with people, and claims of what to label, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from adapters.memory.evaluation.scores import fingerprint_of_run
from adapters.memory.store import MemoryStore, delete_rows
from domain.evaluation.agreement import calibration
from domain.evaluation.agreement.calibration import (
    LABELS_MAX,
    JudgeScores,
    PairedTrace,
    QueueItem,
    queue_orders,
    unlabelled_scores,
)
from domain.evaluation.agreement.claims import (
    ClaimableItems,
    ClaimedItem,
    ClaimedItems,
    ClaimRequest,
    QueueProgress,
    claim_items,
)
from domain.evaluation.scores.score import (
    CreatedWithin,
    ScoreSource,
    TraceScore,
    newest_first,
)
from domain.ids import ProjectId

CLAIMS_PER_DELETE: Final = 2_000  # claims that one call deletes


@dataclass(frozen=True, slots=True)
class MemoryHumanLabels:
    store: MemoryStore

    async def compare_with_human_labels(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        return calibration.compare_with_human_labels(
            _named(self.store, project, name),
            partial(fingerprint_of_run, self.store),
            threshold,
            within,
        )

    async def paired_traces(
        self, project: ProjectId, name: str, within: CreatedWithin
    ) -> Sequence[PairedTrace]:
        fingerprint_of = partial(fingerprint_of_run, self.store)
        return calibration.paired_traces(_named(self.store, project, name), fingerprint_of, within)

    async def annotation_queue(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[QueueItem]:
        return calibration.build_queue(_named(self.store, project, name), threshold, seed, limit)


@dataclass(frozen=True, slots=True)
class MemoryAnnotationClaims:
    store: MemoryStore

    async def progress(self, project: ProjectId, name: str, day: datetime) -> QueueProgress:
        scores = _named(self.store, project, name)
        return self._progress(scores, len(unlabelled_scores(scores)), day)

    async def claim(self, project: ProjectId, request: ClaimRequest) -> ClaimedItems:
        self.store.check_exists(project)
        scores, claims = _named(self.store, project, request.name), self.store.annotation_claims
        waiting = unlabelled_scores(scores)
        progress = self._progress(scores, len(waiting), request.day)
        live = {
            one.trace: one
            for one in claims.in_project(project)
            if one.name == request.name and one.expires_at > request.now
        }
        held = [
            ClaimedItem(QueueItem(score, claim.why), claim)
            for score in waiting
            if (claim := live.get(score.trace_id)) is not None
            and claim.holder == request.holder
            and claim.trace not in request.skipped
        ]
        free = [one for one in waiting if one.trace_id not in live.keys() | request.skipped]
        uncertain, by_chance = queue_orders(free, request.threshold, request.seed)
        claimed = sum(one.trace_id in live for one in waiting)
        found = ClaimableItems(
            held=sorted(held, key=lambda one: (one.claim.claimed_at, one.claim.place)),
            uncertain=uncertain,
            by_chance=by_chance,
            done=progress.labelled_today + claimed,
            claims=sum(one.expires_at > request.now for one in claims.in_project(project)),
        )
        items = claim_items(found, request)
        for trace in request.skipped & live.keys():
            if live[trace].holder == request.holder:
                del claims[project, request.name, trace]
        for one in items:
            claims[project, request.name, one.claim.trace] = one.claim
        return ClaimedItems(items, progress)

    async def delete_expired(self, now: datetime) -> int:
        claims = self.store.annotation_claims
        return len(delete_rows(claims, lambda _, one: one.expires_at <= now, CLAIMS_PER_DELETE))

    def _progress(self, scores: list[TraceScore], length: int, day: datetime) -> QueueProgress:
        labels = [one for one in newest_first(scores) if one.source is ScoreSource.ANNOTATION]
        labelled = {one.trace_id for one in labels[:LABELS_MAX] if one.updated_at >= day}
        return QueueProgress(length=length, labelled_today=len(labelled))


def _named(store: MemoryStore, project: ProjectId, name: str) -> list[TraceScore]:
    known = store.visible_trace_scores(project)
    return [one for one in known if one.name == name and not one.is_of_span]
