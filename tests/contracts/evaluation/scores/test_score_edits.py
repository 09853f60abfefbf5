"""Edits of scores by callers: part of the contracts of TraceScores and SessionScores.

Run against every adapter. The domain decides which callers may edit; the audit log has each edit.
"""

import asyncio
import uuid

import pytest

from domain.errors import Forbidden, NotFound
from domain.evaluation.scores.edits import ScoreEdit
from domain.evaluation.scores.score import DataType, ScoreChange
from domain.identity.audit import Actor, AuditAction
from domain.ids import ApiKeyId, OrganizationId, UserId
from domain.page import PageRequest
from tests.support.builders.scores import ADA, RUNS, session_score, trace_score
from tests.support.builders.values import NOON, at, trace, trace_id
from tests.support.fixtures.data_plane import DataPlane, fill, project
from tests.support.fixtures.in_memory_app import World

EVE = UserId(uuid.UUID(int=0xE5E))
KEY = ApiKeyId(uuid.UUID(int=0xCE1))
TRACE = trace_id()


@pytest.fixture
async def ours(world: World):
    ours = project()
    await fill(DataPlane.from_ports(world.ports), ours, trace(id=TRACE, session_id="s"))
    return ours


@pytest.fixture
def organization():
    return OrganizationId(uuid.uuid4())


@pytest.fixture
def edit(organization):
    """Returns a function that makes an edit by a user, or by a key."""

    def edit(user, *, is_admin=False):
        actor = Actor(user_id=user, key_id=None if user else KEY, name="who")
        return ScoreEdit(
            organization_id=organization,
            actor=actor,
            is_admin=is_admin,
            at=at(1),
            new_id=uuid.uuid4,
        )

    return edit


async def audited(world, organization):
    page = await world.ports.identity.directory.audit_log(organization, PageRequest())
    return [(one.action, one.actor.user_id, one.resource_id) for one in page.items]


async def test_score_of_a_person_is_edited_by_them_or_an_admin(world, ours, organization, edit):
    scores = world.ports.evaluation.trace_scores
    one = await scores.add(trace_score(ours, TRACE, author_id=ADA))
    change = ScoreChange(value="1")
    for refused in (edit(None), edit(EVE)):
        with pytest.raises(Forbidden):
            await scores.change(ours, one.id, change, at(1), refused.user_id, edit=refused)
        with pytest.raises(Forbidden):
            await scores.delete(ours, one.id, refused)
    assert await scores.get(ours, one.id) == one
    assert await audited(world, organization) == []
    changed = await scores.change(ours, one.id, change, at(1), ADA, edit=edit(ADA))
    assert changed == one.patched(change, at(1), ADA)
    assert await scores.get(ours, one.id) == changed
    await scores.change(ours, one.id, change, at(2), EVE, edit=edit(EVE, is_admin=True))
    assert (await scores.get(ours, one.id)).author_id == EVE
    assert await scores.delete(ours, one.id, edit(EVE))
    assert not await scores.delete(ours, one.id, edit(EVE))
    with pytest.raises(NotFound):
        await scores.get(ours, one.id)
    changes, deletion = (AuditAction.SCORE_CHANGED, AuditAction.SCORE_DELETED)
    found = await audited(world, organization)
    assert sorted(found, key=str) == sorted(
        [
            (changes, ADA, str(one.id)),
            (changes, EVE, str(one.id)),
            (deletion, EVE, str(one.id)),
        ],
        key=str,
    )


async def test_key_edits_scores_without_an_author(world, ours, organization, edit):
    scores = world.ports.evaluation.trace_scores
    given = {"value": "her words", "data_type": DataType.CATEGORICAL}
    one = await scores.add(trace_score(ours, TRACE, **given))
    await scores.change(ours, one.id, ScoreChange(value="mine"), at(1), None, edit=edit(None))
    [revision] = (await scores.get(ours, one.id)).history
    assert (revision.value, revision.key_id, revision.user_id) == ("her words", KEY, None)
    await scores.change(ours, one.id, ScoreChange(), at(1), None, edit=edit(None))
    page = await world.ports.identity.directory.audit_log(organization, PageRequest())
    [entry] = page.items
    assert entry.actor.key_id == KEY
    # The audit log outlives an erasure: it has no free text.
    assert entry.detail == {"project_id": str(ours), "name": "m", "source": "ANNOTATION"}


async def test_session_score_of_a_person_is_edited_by_them(world, ours, organization, edit):
    scores = world.ports.evaluation.session_scores
    one = await scores.add(session_score(ours, author_id=ADA))
    change = ScoreChange(value="1", reason="better")
    with pytest.raises(Forbidden):
        await scores.delete(ours, one.id, edit(None))
    with pytest.raises(Forbidden):
        await scores.change(ours, one.id, change, at(1), EVE, edit=edit(EVE))
    assert await scores.by_session(ours, "s") == [one]
    assert await audited(world, organization) == []
    changed = await scores.change(ours, one.id, change, at(1), ADA, edit=edit(ADA))
    assert changed == one.patched(change, at(1), ADA)
    assert await scores.get(ours, one.id) == changed
    assert [past.value for past in changed.history] == [one.value]
    with pytest.raises(NotFound):
        await scores.change(project(), one.id, change, at(1), ADA, edit=edit(ADA))
    with pytest.raises(NotFound):
        await scores.get(project(), one.id)
    assert await scores.delete(ours, one.id, edit(ADA))
    found = await audited(world, organization)
    assert sorted(action for action, _, _ in found) == [
        AuditAction.SCORE_CHANGED,
        AuditAction.SCORE_DELETED,
    ]
    assert {who for _, who, _ in found} == {ADA}


async def test_concurrent_changes_of_a_session_score_are_all_kept(world, ours):
    scores = world.ports.evaluation.session_scores
    one = await scores.add(session_score(ours))
    values = [f"0.{n}" for n in range(5)]
    await asyncio.gather(
        *(scores.change(ours, one.id, ScoreChange(value=text), at(1), None) for text in values)
    )
    changed = await scores.get(ours, one.id)
    assert {changed.value, *(past.value for past in changed.history)} == {*values, one.value}


@pytest.mark.parametrize("of_sessions", [False, True])
async def test_scores_of_a_run_that_others_wrote_are_found(world, ours, of_sessions):
    ports = world.ports.evaluation
    scores = ports.session_scores if of_sessions else ports.trace_scores
    for run, author in ((RUNS[0], None), (RUNS[0], ADA), (RUNS[1], None)):
        said = {"run_id": run, "author_id": author, "created_at": NOON}
        one = session_score(ours, **said) if of_sessions else trace_score(ours, TRACE, **said)
        await scores.add(one)
    found = scores.run_has_scores_of_others
    assert await found(ours, RUNS[0], EVE)
    assert await found(ours, RUNS[0], None)
    assert not await found(ours, RUNS[0], ADA)
    assert not await found(ours, RUNS[1], None)
    assert not await found(project(), RUNS[0], None)
