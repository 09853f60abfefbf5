"""What lists of scores can be narrowed by, on the wire."""

from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta

from domain.evaluation.runs.run import TargetType
from domain.evaluation.scores.query import ScoreFilter
from domain.evaluation.scores.score import DataType, ScoreOutcome, ScoreSource, ScoreStatus
from domain.ids import ProjectId, RunId, TraceId
from domain.page import SortOrder
from entrypoints.http.requests.cursors import ID, INSTANT, PagedList, PageQuery, Pages
from entrypoints.http.requests.wire_types import QueryInstant


class ScoreQuery(PageQuery, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="Exactly this name")] | None = None
    source: Annotated[ScoreSource, Meta(description="Who gave it")] | None = None
    status: Annotated[ScoreStatus, Meta(description="Exactly this status")] | None = None
    outcome: (
        Annotated[ScoreOutcome, Meta(description="As the status, with skipped told from failed")]
        | None
    ) = None
    data_type: Annotated[DataType, Meta(description="Exactly this data type")] | None = None
    eval_run_id: Annotated[UUID, Meta(description="Made by this run")] | None = None
    date_from: Annotated[QueryInstant, Meta(description="Created then or later")] | None = None
    date_to: Annotated[QueryInstant, Meta(description="Created earlier")] | None = None

    def matching(
        self,
        *,
        trace_id: UUID | None = None,
        session_id: str | None = None,
        environment: str | None = None,
    ) -> ScoreFilter:
        return ScoreFilter(
            trace_id=None if trace_id is None else TraceId(trace_id),
            session_id=session_id,
            environment=environment,
            name=self.name,
            source=self.source,
            status=self.status,
            outcome=self.outcome,
            data_type=self.data_type,
            run_id=None if self.eval_run_id is None else RunId(self.eval_run_id),
            created_after=self.date_from,
            created_before=self.date_to,
        )


class TraceScoreQuery(ScoreQuery, frozen=True, kw_only=True):
    trace_id: Annotated[UUID, Meta(description="Of this trace")] | None = None
    environment: Annotated[str, Meta(description="Exactly this environment")] | None = None


class SessionScoreQuery(ScoreQuery, frozen=True, kw_only=True):
    session_id: Annotated[str, Meta(description="Of this session")] | None = None


LISTS: Final = {of: PagedList(f"{of.lower()} scores", {None: INSTANT}, ID) for of in TargetType}


def asked(of: TargetType, query: ScoreQuery, project: ProjectId, matching: ScoreFilter) -> Pages:
    """The page that `query` asks for, from the newest on. Raises Invalid for a foreign cursor."""
    return LISTS[of].asked(query, project, matching, None, SortOrder.DESC)
