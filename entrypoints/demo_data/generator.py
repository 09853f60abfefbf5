"""Generates synthetic traces: runs of agents, realistic enough for demos and benchmarks.

A `Recipe` determines them completely: the same recipe gives the same traces, including their ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from random import Random
from typing import Final

from domain.tracing.trace import Trace
from entrypoints.demo_data.agent_runs import Conversation, Run
from entrypoints.demo_data.scenarios import AGENTS, CUSTOMERS, ENVIRONMENTS, Script

SESSION_TRACES_MAX: Final = 8
TRACES_PER_USER: Final = 20
RELEASES: Final = 12  # over the whole period

_IN_SESSION: Final = 0.7  # share of traces
_ANONYMOUS: Final = 0.05  # share of conversations without a user
_CONVERSATIONS_MAX: Final = 64  # concurrent
_DAY_HOURS: Final = 24
_HOUR: Final = timedelta(hours=1)
_OPENING_HOUR, _CLOSING_HOUR, _SATURDAY = 8, 20, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The number of traces and their period: the `days` before `until`, which is aware."""

    traces: int
    seed: int
    days: int
    until: datetime


def synthetic_traces(recipe: Recipe) -> Iterator[Trace]:
    """The traces of a recipe, one at a time, in the order in which they start."""
    state = f"{recipe.seed} {recipe.traces} {recipe.days} {recipe.until.timestamp()}"
    random = Random(state)  # noqa: S311 - it has to be repeatable, not secret
    # As many concurrent conversations as let each take an hour or two, not days.
    concurrent = round(recipe.traces / (recipe.days * _DAY_HOURS) / 4)
    conversations = Conversations(
        random,
        [script for agent in AGENTS for script in [Script.generate(random, agent)] * agent.weight],
        users=max(1, recipe.traces // TRACES_PER_USER),
        slots=[None] * min(_CONVERSATIONS_MAX, max(2, concurrent)),
    )
    for number, started_at in enumerate(_instants(random, recipe)):
        conversation = conversations.next()
        minor = number * RELEASES // recipe.traces
        if conversation.environment != "production":
            minor += 1  # releases are tested there first
        yield Run(random, conversation, started_at, f"2.{minor}.0").trace()


def _instants(random: Random, recipe: Recipe) -> Iterator[datetime]:
    """As many ascending instants as there are traces: busy days, quiet nights and weekends."""
    count = recipe.days * _DAY_HOURS
    begin = recipe.until - count * _HOUR
    ends = [0.0, *accumulate(_activity(begin + n * _HOUR) for n in range(count))]
    hours = enumerate(pairwise(ends))
    hour, (low, high) = next(hours)
    for number in range(recipe.traces):
        point = (number + random.random()) / recipe.traces * ends[-1]
        while point >= high and hour < count - 1:
            hour, (low, high) = next(hours)
        within = min((point - low) / (high - low), 0.999_999)
        yield begin + hour * _HOUR + within * _HOUR


def _activity(hour: datetime) -> float:
    """The number of traces in this hour, relative to other hours."""
    local = hour.astimezone(UTC)
    noon = (_OPENING_HOUR + _CLOSING_HOUR) / 2
    by_day = 6.5 - abs(local.hour - noon) if _OPENING_HOUR <= local.hour < _CLOSING_HOUR else 0.0
    return (1.0 + by_day) * (0.4 if local.weekday() >= _SATURDAY else 1.0)


@dataclass(slots=True)
class Conversations:
    """Chooses the conversation of the next trace. A script listed more often is used more often."""

    random: Random
    scripts: Sequence[Script]
    users: int
    slots: list[Conversation | None]

    def next(self) -> Conversation:
        if self.random.random() >= _IN_SESSION:
            return self._begin(None, 1)
        at = int(self.random.random() * len(self.slots))
        current = self.slots[at]
        if current is None:
            # Short conversations are more frequent than long ones.
            length = 1 + int(SESSION_TRACES_MAX * self.random.random() ** 2)
            current = self._begin(f"conv-{self.random.getrandbits(48):012x}", length)
        current.traces_left -= 1
        self.slots[at] = current if current.traces_left else None
        return current

    def _begin(self, session: str | None, length: int) -> Conversation:
        random = self.random.random
        # A long tail: the first users return often, the last ones rarely.
        user = int(self.users * random() ** 3)
        return Conversation(
            self.scripts[int(random() * len(self.scripts))],
            session,
            None if random() < _ANONYMOUS else f"user-{user:06d}",
            CUSTOMERS[user % len(CUSTOMERS)],
            ENVIRONMENTS[int(random() * len(ENVIRONMENTS))],
            length,
        )
