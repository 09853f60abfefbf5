"""Random histories of custom metrics read the same from memory and from PostgreSQL.

Part of the contract of CustomMetrics.
"""

import uuid
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from domain.ids import ProjectId
from tests.support.builders.custom_metric_definitions import (
    Customizing,
    a_definition,
    a_metric,
    over_memory,
    over_postgres,
)
from tests.support.builders.values import at
from tests.support.fixtures.histories import ComparedHistories, assert_histories_agree

pytestmark = pytest.mark.service

which = st.sampled_from([0, 0, 1])
names = st.sampled_from(["one", "two", "b_2"])
bodies = st.recursive(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
    | st.booleans()
    | st.integers(-9, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
    max_leaves=5,
)
thresholds = st.floats(0, 1)


class Histories(ComparedHistories[Customizing]):
    @initialize()
    def begin(self) -> None:
        self.model = over_memory()
        self.projects = [ProjectId(uuid.uuid4()), ProjectId(uuid.uuid4())]
        self.ids = [uuid.uuid4()]
        self.now = 0

    @rule(index=which, name=names, body=bodies, threshold=thresholds, data=st.data())
    def make(self, index: int, name: str, body: Any, threshold: float, data: st.DataObject) -> None:
        self.ids.append(uuid.uuid4())
        new = data.draw(st.sampled_from(self.ids))
        metric = a_metric(self.projects[index], id=new, name=name, body=body, threshold=threshold)
        self.run_on_both(lambda it: it.metrics.create(metric))

    @rule(index=which, name=names, body=bodies, threshold=thresholds)
    def revise(self, index: int, name: str, body: Any, threshold: float) -> None:
        self.now += 1
        definition, now = a_definition(body=body, threshold=threshold), at(self.now)
        self.run_on_both(
            lambda it: it.metrics.edit(
                self.projects[index], name, lambda one: one.revised(definition, now)
            )
        )

    @rule(index=which, name=names, is_back=st.booleans())
    def archive(self, index: int, name: str, is_back: bool) -> None:
        self.now += 1
        now = at(self.now)
        self.run_on_both(
            lambda it: it.metrics.edit(
                self.projects[index],
                name,
                lambda one: one.restored() if is_back else one.archived(now),
            )
        )

    @invariant()
    def every_read_agrees(self) -> None:
        async def read(it: Customizing) -> list[Any]:
            found: list[Any] = []
            for project in self.projects:
                metrics = await it.metrics.all(project)
                found += [metrics, await it.metrics.by_names(project, ["one", "nothing"])]
                found += [list(await it.metrics.revisions(project, one.name)) for one in metrics]
            return found

        self.run_on_both(read)


@pytest.mark.exhaustive  # test_custom_metrics.py has each step
def test_random_histories_of_metrics_agree(pool, serving_url):
    assert_histories_agree(Histories, over_postgres, serving_url, examples=25, steps=15)
