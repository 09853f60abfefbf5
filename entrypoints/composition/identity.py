"""Identity by itself: for commands that make organizations and keys.

Apart from `root.py`, which imports every adapter: they start in half of the time.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from os import urandom
from uuid import uuid4

from adapters.caching.identity_cache import (
    CachedApiKeys,
    CachedProjects,
    CacheInvalidatingAdministration,
)
from adapters.caching.key_usage_buffer import KeyUsageBuffer
from adapters.caching.refusal_buffer import RefusalBuffer
from adapters.postgres.database.pool import Pool
from adapters.postgres.identity.administration import PostgresAdministration
from adapters.postgres.identity.browser_sessions import (
    PostgresBrowserSessions,
    PostgresSignInAttempts,
)
from adapters.postgres.identity.directory import PostgresDirectory
from adapters.postgres.identity.identity import (
    PostgresApiKeys,
    PostgresOrganizations,
    PostgresProjects,
    PostgresUsers,
)
from adapters.postgres.identity.object_index import PostgresObjectIndex
from adapters.postgres.identity.project_activity import PostgresProjectActivities
from adapters.postgres.identity.project_purge import PostgresRemovedProjects
from adapters.postgres.identity.refusals import PostgresRefusals
from application.clock import utc_now
from application.identity.organization_edit import OrganizationEditor
from application.identity.ports import KeyUsage, ObjectIndex, RefusalLog
from application.identity.use_cases import IdentityPorts, IdentityUseCases
from domain.identity.browser_session import SessionLifetime
from domain.identity.caller import SignInRules
from domain.ids import OrganizationId
from entrypoints.composition.database import open_database
from entrypoints.composition.sign_in import SignIn, open_sign_in
from entrypoints.settings import Settings


@asynccontextmanager
async def open_identity(
    settings: Settings,
) -> AsyncIterator[tuple[IdentityPorts, IdentityUseCases]]:
    """The ports and use cases of identity, while the block runs.

    `find_objects` looks in the first group of organizations alone. Raises SettingsError,
    Unavailable.
    """
    async with open_sign_in(settings) as sign_in, open_database(settings) as pool:
        keys = CachedApiKeys(PostgresApiKeys(pool), utc_now, settings.api_key_cache_seconds)
        projects = CachedProjects(PostgresProjects(pool), utc_now, settings.api_key_cache_seconds)
        async with (
            KeyUsageBuffer.flushing_to(keys) as uses,
            RefusalBuffer.flushing_to(PostgresRefusals(pool)) as refused,
        ):
            ports = identity_ports(
                settings,
                pool,
                sign_in=sign_in,
                keys=keys,
                projects=projects,
                key_usage=uses,
                refusal_log=refused,
            )
            editor = OrganizationEditor(ports.administration, utc_now, uuid4)

            async def objects_of(_organization: OrganizationId) -> ObjectIndex:
                return ports.objects

            yield ports, IdentityUseCases(ports, editor, urandom, objects_of)


def identity_ports(
    settings: Settings,
    pool: Pool,
    *,
    sign_in: SignIn,
    keys: CachedApiKeys,
    projects: CachedProjects,
    key_usage: KeyUsage,
    refusal_log: RefusalLog,
) -> IdentityPorts:
    return IdentityPorts(
        keys=keys,
        key_usage=key_usage,
        tokens=sign_in.tokens,
        users=PostgresUsers(pool),
        projects=projects,
        organizations=PostgresOrganizations(pool),
        directory=PostgresDirectory(pool),
        objects=PostgresObjectIndex(pool),
        activities=PostgresProjectActivities(pool),
        administration=CacheInvalidatingAdministration(
            PostgresAdministration(pool), keys, projects
        ),
        removed_projects=PostgresRemovedProjects(pool),
        refusals=PostgresRefusals(pool),
        refusal_log=refusal_log,
        browser_sessions=PostgresBrowserSessions(pool),
        sign_in_attempts=PostgresSignInAttempts(pool),
        sign_in_provider=sign_in.provider,
        session_lifetime=SessionLifetime(
            idle=timedelta(hours=settings.session_hours),
            total=timedelta(days=settings.session_max_days),
        ),
        owned_organizations_max=settings.max_owned_organizations or None,
        projects_max=settings.max_projects_per_organization,
        active_keys_max=settings.max_keys_per_organization,
        sign_in_rules=SignInRules(
            issuers=sign_in.issuers,
            email_domains=frozenset(
                domain.lower() for domain in settings.auth_allowed_email_domains
            ),
            allows_sign_up=settings.auth_sign_up,
        ),
    )
