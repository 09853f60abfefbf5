"""The annotation queue: its random share, and its stability during a day."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.agreement.calibration import SelectionReason, build_queue, daily_seed
from domain.evaluation.scores.score import ScoreSource, TraceScore
from domain.ids import ProjectId, ScoreId, TraceId
from tests.support.builders.scores import trace_score
from tests.support.builders.values import OURS, THEIRS

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def judged(n: int, value: float) -> TraceScore:
    return trace_score(
        OURS,
        TraceId(UUID(int=n)),
        id=ScoreId(UUID(int=n)),
        value=repr(value),
        source=ScoreSource.AUTOMATED,
    )


many = st.lists(st.floats(0, 1), max_size=60).map(
    lambda values: [judged(n, value) for n, value in enumerate(values)]
)
seeds = st.text(max_size=5)
limits = st.integers(1, 100)


@given(many, st.floats(0, 1), seeds, limits)
def test_every_fifth_item_is_random_and_each_item_unique(scores, threshold, seed, limit):
    found = build_queue(scores, threshold, seed, limit)
    assert len(found) == min(limit, len(scores))
    assert len({one.score.id for one in found}) == len(found)
    whys = [one.why for one in found]
    assert whys.count(SelectionReason.RANDOM) == len(found) // 5
    assert all(why is SelectionReason.RANDOM for why in whys[4::5])
    near = [
        abs(one.score.number - threshold) for one in found if one.why is SelectionReason.UNCERTAIN
    ]
    assert near == sorted(near)
    # No omitted score is nearer to the threshold than an uncertain one of the queue.
    chosen = {one.score.id for one in found}
    left = [abs(one.number - threshold) for one in scores if one.id not in chosen]
    assert not near or not left or max(near) <= min(left)


@given(many, seeds, limits, st.randoms())
def test_queue_is_independent_of_input_order(scores, seed, limit, chance):
    shuffled = [*scores]
    chance.shuffle(shuffled)
    assert build_queue(shuffled, 0.5, seed, limit) == build_queue(scores, 0.5, seed, limit)


@given(st.lists(st.floats(0, 1), min_size=20, max_size=60), seeds)
def test_random_order_ignores_score_values(values, seed):
    """Otherwise estimates from the random items would be biased."""

    def drawn(of: list[float]) -> list[ScoreId]:
        found = build_queue([judged(n, value) for n, value in enumerate(of)], 0.5, seed, 20)
        return [one.score.id for one in found if one.why is SelectionReason.RANDOM]

    assert drawn(values) == drawn([1 - value for value in values])


def test_seed_depends_on_project_name_and_day():
    same = daily_seed(OURS, "m", NOON)
    assert daily_seed(OURS, "m", NOON + timedelta(hours=11)) == same
    others = {
        daily_seed(OURS, "m", NOON + timedelta(hours=12)),
        daily_seed(OURS, "n", NOON),
        daily_seed(ProjectId(THEIRS), "m", NOON),
        daily_seed(OURS, "\ud800", NOON),
    }
    assert len(others | {same}) == 5
