"""A first key on servers that nobody has used yet, for tests and benchmarks that start `serve`."""

import uuid

from application.use_cases import UseCases
from domain.identity.caller import Person
from domain.identity.user import Claims
from domain.ids import UserId
from entrypoints import composition
from entrypoints.settings import Settings


async def first_key(settings: Settings) -> str:
    """The secret of a key of a new organization."""
    async with composition.ports(settings) as ports:
        use = UseCases.over(ports)
        claims = Claims(issuer="test", subject=uuid.uuid4().hex, email="test@localhost")
        user = await ports.users.signed_in(claims, new=UserId(uuid.uuid4()), at=ports.clock())
        membership = await use.resolve_membership(Person(user), None)
        return (await use.issue_key(membership.organization_id, name="test"))[1]
