"""The port of agreement: scores of judges compared with labels of people."""

from collections.abc import Sequence
from typing import Protocol

from domain.evaluation.agreement.annotation_queue import QueueItem
from domain.evaluation.agreement.calibration import JudgeScores
from domain.evaluation.scores.score import CreatedWithin
from domain.ids import ProjectId


class HumanLabels(Protocol):
    """The labels of people and the scores of judges on the same traces, by project.

    Contract of HumanLabels: tests/contracts/evaluation/scores/test_agreement.py. All raise
    Unavailable.
    """

    async def compare_with_human_labels(
        self, project: ProjectId, name: str, threshold: float, within: CreatedWithin
    ) -> Sequence[JudgeScores]:
        """As `domain.evaluation.agreement.calibration.compare_with_human_labels`."""
        ...

    async def annotation_queue(
        self, project: ProjectId, name: str, threshold: float, seed: str, limit: int
    ) -> Sequence[QueueItem]:
        """The queue that `domain.evaluation.agreement.annotation_queue` defines."""
        ...
