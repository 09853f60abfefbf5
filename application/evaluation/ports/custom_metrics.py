"""The ports of custom metrics: where they are stored, and the regular expressions they use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from domain.evaluation.custom_metrics.custom_metric import CustomMetric, Revision
from domain.evaluation.custom_metrics.regex import RegexSearch
from domain.ids import ProjectId


class CustomMetrics(Protocol):
    """The custom metrics of every project, seen one project at a time.

    Writes are durable on return. A removed project has no metrics. Contract of CustomMetrics:
    tests/contracts/evaluation/custom_metrics/test_custom_metrics.py. All raise Unavailable.
    """

    async def create(self, metric: CustomMetric) -> CustomMetric:
        """Stores a metric with its first revision; returns the stored one if its id exists.

        Raises Conflict if its name is taken, also by an archived metric, or if the project has
        METRICS_MAX metrics; Unavailable if the project was removed; Invalid if it can't be stored.
        """
        ...

    async def get(self, project: ProjectId, name: str) -> CustomMetric:
        """Raises NotFound."""
        ...

    async def all(self, project: ProjectId) -> Sequence[CustomMetric]:
        """All metrics of the project by name, archived ones included."""
        ...

    async def by_names(
        self, project: ProjectId, names: Sequence[str]
    ) -> Mapping[str, CustomMetric]:
        """The existing metrics among the names, by name; archived ones included."""
        ...

    async def revisions(self, project: ProjectId, name: str) -> Sequence[Revision]:
        """All revisions of a metric, newest first. Raises NotFound."""
        ...

    async def edit(
        self, project: ProjectId, name: str, edit: Callable[[CustomMetric], CustomMetric]
    ) -> CustomMetric:
        """The metric after `edit`. If `edit` gives it a new revision, the revision is added.

        Concurrent edits of one metric are serialised. Raises NotFound, Invalid if the result
        can't be stored, and what `edit` raises.
        """
        ...


class RegexEngine(Protocol):
    """Searches for patterns written by callers, in time linear in the length of the text.

    Contract of RegexEngine: tests/contracts/evaluation/custom_metrics/test_regex.py.
    """

    def check(self, pattern: str) -> None:
        """Raises Invalid if the pattern has a wrong syntax, or needs too much memory."""
        ...

    def new_search(self) -> RegexSearch:
        """A search for one evaluation of a metric, in one thread. Thread-safe itself."""
        ...
