"""Erasures that tests begin, and bring to their end."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from domain.identity.audit import OPERATOR, AuditAction, AuditEntry
from domain.ids import AuditEntryId, ErasureId, OrganizationId, ProjectId
from domain.tracing.erasure import Erasure, ErasureState, Owner, OwnerKind
from tests.builders import NOON
from tests.contracts import meeting
from tests.contracts.data_plane import DataPlane

# Behind all that other tests wait for.
LAST: Final = NOON.replace(year=2_100)

which: Final = st.sampled_from([0, 0, 0, 1])  # of two projects
owners: Final = st.builds(Owner, st.just(OwnerKind.USER), meeting.users) | st.builds(
    Owner, st.just(OwnerKind.SESSION), meeting.sessions
)


def an_erasure(of: ProjectId, owner: Owner, **said: Any) -> Erasure:
    known: dict[str, Any] = {
        "id": ErasureId(uuid.uuid4()),
        "organization_id": OrganizationId(uuid.uuid4()),
        "project_id": of,
        "kind": owner.kind,
        "salt": b"salt",
        "digest": b"digest",
        "requested_at": NOON,
        "requested_by": OPERATOR,
    }
    return Erasure(**known | said)


def told(erasure: Erasure, action: AuditAction = AuditAction.ERASURE_FINISHED) -> AuditEntry:
    return AuditEntry(
        id=AuditEntryId(uuid.uuid4()),
        organization_id=erasure.organization_id,
        at=NOON,
        actor=OPERATOR,
        action=action,
        resource_id=str(erasure.id),
        detail={"sha256": erasure.sha256 or ""},
    )


class Erasing:
    """Erasures in a history that is played over several stores, which `both` act in."""

    def __init__(self, both: Callable[[Any], Any]) -> None:
        self.both = both
        self.open: list[Erasure] = []

    def begin(self, of: ProjectId, owner: Owner) -> None:
        erasure = an_erasure(of, owner, requested_at=LAST)
        self.both(lambda plane: plane.keeping.erasures.begin(erasure, owner, told(erasure)))
        self.open.append(erasure)

    def step(self) -> None:
        """The next step of the one that was begun first."""
        if not self.open:
            return
        known = self.open[0]

        async def act(plane: DataPlane) -> ErasureState:
            now = datetime.now(UTC)
            over = await plane.keeping.erasures.advance(known.project_id, known.id, now, told)
            return over.state

        if self.both(act) is ErasureState.REMOVED:
            self.open.pop(0)

    def finish(self) -> None:
        while self.open:
            self.step()


class ErasingHistories(RuleBasedStateMachine):
    """A history of two projects in which somebody is erased every now and then."""

    erasing: Erasing
    projects: Sequence[ProjectId]

    @rule(of=which, owner=owners)
    def erase(self, of: int, owner: Owner) -> None:
        self.erasing.begin(self.projects[of], owner)

    @rule()
    def go_on_erasing(self) -> None:
        self.erasing.step()

    def teardown(self) -> None:
        if hasattr(self, "erasing"):
            self.erasing.finish()
