"""Builds a run that retries the failures of another."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from domain.errors import Invalid
from domain.evaluation.runs.run import NAME_MAX, EvalRun, Execution, Target, WorkItem
from domain.evaluation.scores.score import ScoreOutcome
from domain.ids import RunId

PREFIX: Final = "Retry: "


def build_retry(
    run: EvalRun, executions: Iterable[Execution], new: RunId, now: datetime
) -> tuple[EvalRun, list[WorkItem]]:
    """A new run and its work: exactly the failures of `run`, whatever the run's state.

    Skipped pairs aren't retried. Neither are the signals of a session run, which a new run computes
    if they are missing. Raises Invalid if nothing failed.
    """
    failed: dict[Target, set[str]] = {}
    for one in executions:
        if one.outcome is ScoreOutcome.FAILED and one.metric in run.metrics:
            failed.setdefault(one.target, set()).add(one.metric)
    if not failed:
        raise Invalid("Nothing to retry: no score of this run has failed")
    work = [WorkItem(target, tuple(sorted(failed[target]))) for target in sorted(failed)]
    tried = {metric for one in work for metric in one.metrics}
    echo = {"retry_of": str(run.id), run.target_type.ids_key: [one.target for one in work]}
    return (
        EvalRun(
            id=new,
            project_id=run.project_id,
            target_type=run.target_type,
            name=f"{PREFIX}{run.name or run.id}"[:NAME_MAX],
            metrics=tuple(sorted(tried)),
            targets=len(work),
            filters=json.dumps(echo, ensure_ascii=False, separators=(",", ":")).encode(),
            model=run.model,
            signal_weights=run.signal_weights,
            definitions=tuple(one for one in run.definitions if one.name in tried),
            votes=run.votes,
            max_cost_usd=run.max_cost_usd,
            created_at=now,
        ),
        work,
    )
