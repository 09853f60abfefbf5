"""Organizations: members, invitations, projects, API keys and the audit log; and `/me`.

The roles are those of the contract's table. `{owner}`, `{admin}` and `{member}` are other people in
these roles, `{me}` is the caller.
"""

from dataclasses import replace

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import (
    ADMINS,
    ALL_ROLES,
    NO_ROLE,
    OWNERS,
    PAGE,
    SIGNED_IN,
    Audit,
    EndpointSpec,
)

NAMED = {"name": "{text}"}
ORG = "/organizations/{org_id}"
MEMBER = f"{ORG}/members/{{user_id}}"
PROJECT = f"{ORG}/projects/{{project_id}}"
KEY = f"{ORG}/api-keys/{{key_id}}"
TO_ME = {"invitation_id": "{invitation_to_me}"}

_CHANGE_ROLE = EndpointSpec(
    f"PATCH {MEMBER}",
    OWNERS,
    200,
    body={"role": "ADMIN"},
    words={"user_id": "{member}"},
    other_statuses={409},
    audit=Audit("member.role_changed", "user_id", {"from": "MEMBER", "to": "ADMIN"}),
)
_REMOVE_MEMBER = EndpointSpec(
    f"DELETE {MEMBER}",
    ADMINS,
    204,
    words={"user_id": "{member}"},
    other_statuses={409},
    audit=Audit("member.removed", "user_id", {"revoked_keys": "0"}),
)
_INVITE = EndpointSpec(
    f"POST {ORG}/invitations",
    ADMINS,
    201,
    body={"email": "{email}"},
    words={"email": "New@X.Example"},
    other_statuses={409},
    route_class=RouteClass.INVITATIONS,
    audit=Audit("invitation.created", detail={"email": "new@x.example"}),
)
_DELETE_KEY = EndpointSpec(
    f"DELETE {KEY}",
    ADMINS,
    204,
    query="permanent=true",
    audit=Audit("api_key.deleted", "key_id", {"name": "{text}"}),
)


def _role_change(person: str, before: str, role: str) -> EndpointSpec:
    audit = Audit("member.role_changed", "user_id", {"from": before, "to": role})
    body, words = {"role": role}, {"user_id": person}
    return replace(_CHANGE_ROLE, body=body, words=words, audit=audit)


ENDPOINTS = (
    EndpointSpec("GET /me", SIGNED_IN, 200),
    EndpointSpec("GET /me/invitations", SIGNED_IN, 200),
    EndpointSpec(
        "POST /me/invitations/{invitation_id}/accept",
        SIGNED_IN,
        200,
        words=TO_ME,
        other_statuses={409},
        audit=Audit("invitation.accepted", "invitation_id"),
    ),
    EndpointSpec(
        "POST /me/invitations/{invitation_id}/decline",
        SIGNED_IN,
        204,
        words=TO_ME,
        other_statuses={409},
        audit=Audit("invitation.declined", "invitation_id"),
    ),
    EndpointSpec(
        "POST /organizations",
        SIGNED_IN,
        201,
        body=NAMED,
        constrained=("name",),
        audit=Audit("organization.created", detail={"name": "{text}"}),
    ),
    EndpointSpec("GET /organizations", SIGNED_IN, 200),
    EndpointSpec(f"GET {ORG}", ALL_ROLES, 200),
    EndpointSpec(
        f"PATCH {ORG}",
        ADMINS,
        200,
        body=NAMED,
        words={"text": "another"},
        constrained=("name",),
        audit=Audit("organization.renamed", "org_id", {"from": "{text}", "to": "another"}),
    ),
    EndpointSpec(f"DELETE {ORG}", OWNERS, 204, audit=Audit("organization.deleted", "org_id")),
    EndpointSpec(f"GET {ORG}/members", ALL_ROLES, 200),
    replace(
        _CHANGE_ROLE,
        variants=(
            _role_change("{member}", "MEMBER", "OWNER"),
            _role_change("{admin}", "ADMIN", "MEMBER"),
            _role_change("{owner}", "OWNER", "MEMBER"),
            replace(_role_change("{me}", "", "MEMBER"), access=NO_ROLE, audit=None),
        ),
    ),
    replace(
        _REMOVE_MEMBER,
        variants=(
            replace(_REMOVE_MEMBER, access=OWNERS, words={"user_id": "{admin}"}),
            replace(
                _REMOVE_MEMBER,
                access=OWNERS,
                words={"user_id": "{owner}"},
                audit=Audit("member.removed", "user_id", {"revoked_keys": "1"}),
            ),
            replace(
                _REMOVE_MEMBER,
                access=ALL_ROLES,
                words={"user_id": "{me}"},
                audit=Audit("member.left", "user_id"),
            ),
        ),
    ),
    replace(
        _INVITE,
        variants=(
            replace(_INVITE, access=OWNERS, body={"email": "{email}", "role": "ADMIN"}),
            replace(
                _INVITE, access=NO_ROLE, body={"email": "{email}", "role": "OWNER"}, audit=None
            ),
        ),
    ),
    EndpointSpec(f"GET {ORG}/invitations", ALL_ROLES, 200),
    EndpointSpec(
        f"DELETE {ORG}/invitations/{{invitation_id}}",
        ADMINS,
        204,
        other_statuses={409},
        audit=Audit("invitation.revoked", "invitation_id", {"email": "guest@{text}.example"}),
    ),
    EndpointSpec(
        f"POST {ORG}/projects",
        ADMINS,
        201,
        body={"name": "{project}"},
        words={"project": "another project"},
        constrained=("name",),
        other_statuses={409},
        audit=Audit("project.created", detail={"name": "another project"}),
    ),
    EndpointSpec(f"GET {ORG}/projects", ALL_ROLES, 200),
    EndpointSpec(f"GET {PROJECT}", ALL_ROLES, 200),
    EndpointSpec(
        f"PATCH {PROJECT}",
        ADMINS,
        200,
        body={"name": "{project}", "description": "{text}"},
        words={"project": "another project"},
        constrained=("name",),
        other_statuses={409},
        audit=Audit(
            "project.changed", "project_id", {"from": "{project}", "to": "another project"}
        ),
    ),
    EndpointSpec(
        f"PUT {PROJECT}/retention",
        ADMINS,
        200,
        body={"days": 9},
        in_contract=False,
        audit=Audit("project.retention_changed", "project_id"),
    ),
    EndpointSpec(
        f"DELETE {PROJECT}",
        OWNERS,
        204,
        audit=Audit("project.deleted", "project_id", {"name": "{project}"}),
    ),
    EndpointSpec(
        f"POST {ORG}/api-keys",
        ALL_ROLES,
        201,
        body=NAMED,
        constrained=("name",),
        audit=Audit("api_key.created", detail={"name": "{text}"}),
    ),
    EndpointSpec(f"GET {ORG}/api-keys", ALL_ROLES, 200),
    EndpointSpec(f"GET {KEY}", ALL_ROLES, 200),
    EndpointSpec(
        f"POST {KEY}/rotate",
        ADMINS,
        201,
        audit=Audit("api_key.rotated", "key_id", {"name": "{text}"}),
    ),
    replace(
        _DELETE_KEY,
        variants=(
            replace(
                _DELETE_KEY,
                query="",
                audit=Audit("api_key.revoked", "key_id", {"name": "{text}"}),
            ),
        ),
    ),
    EndpointSpec(f"GET {ORG}/audit-log", ADMINS, 200, query=PAGE, in_contract=False),
)
