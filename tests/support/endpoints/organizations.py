"""Organizations: members, invitations, projects, API keys and the audit log; and `/me`.

The roles are those of the contract's table. `{owner}`, `{admin}` and `{member}` are other people in
these roles, `{me}` is the caller.
"""

from typing import Any

from entrypoints.http.middleware.rate_limits import RouteClass
from tests.support.endpoints.spec import (
    ADMINS,
    ALL_ROLES,
    ANY_HOLDER,
    IN_PROJECT,
    NO_ROLE,
    OWNERS,
    PAGE,
    SIGNED_IN,
    Audit,
    EndpointSpec,
)

NAMED = {"name": "{text}"}
ORG = "/organizations/{org_id}"
PROJECT = f"{ORG}/projects/{{project_id}}"
KEY = f"{ORG}/api-keys/{{key_id}}"
TO_ME = {"invitation_id": "{invitation_to_me}"}


def _role_change(person: str, before: str, role: str) -> dict[str, Any]:
    detail = {"from": before, "to": role}
    audit = Audit("member.role_changed", "user_id", detail)
    return {"body": {"role": role}, "words": {"user_id": person}, "audit": audit}


ENDPOINTS = (
    EndpointSpec("GET /access", IN_PROJECT, 200, in_contract=False),
    EndpointSpec("GET /me", SIGNED_IN, 200),
    EndpointSpec("GET /me/find", ANY_HOLDER, 200, query="id={trace_id}", in_contract=False),
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
    EndpointSpec(
        f"PATCH {ORG}/members/{{user_id}}",
        OWNERS,
        200,
        **_role_change("{member}", "MEMBER", "ADMIN"),
        other_statuses={409},
        variants=(
            _role_change("{member}", "MEMBER", "OWNER"),
            _role_change("{admin}", "ADMIN", "MEMBER"),
            _role_change("{owner}", "OWNER", "MEMBER"),
            _role_change("{me}", "", "MEMBER") | {"access": NO_ROLE, "audit": None},
        ),
    ),
    EndpointSpec(
        f"DELETE {ORG}/members/{{user_id}}",
        ADMINS,
        204,
        words={"user_id": "{member}"},
        other_statuses={409},
        audit=Audit("member.removed", "user_id", {"revoked_keys": "0"}),
        variants=(
            {"access": OWNERS, "words": {"user_id": "{admin}"}},
            {
                "access": OWNERS,
                "words": {"user_id": "{owner}"},
                "audit": Audit("member.removed", "user_id", {"revoked_keys": "1"}),
            },
            {
                "access": ALL_ROLES,
                "words": {"user_id": "{me}"},
                "audit": Audit("member.left", "user_id"),
            },
        ),
    ),
    EndpointSpec(
        f"POST {ORG}/invitations",
        ADMINS,
        201,
        body={"email": "{email}"},
        words={"email": "New@X.Example"},
        other_statuses={409},
        route_class=RouteClass.INVITATIONS,
        audit=Audit("invitation.created", detail={"email": "new@x.example"}),
        variants=(
            {"access": OWNERS, "body": {"email": "{email}", "role": "ADMIN"}},
            {"access": NO_ROLE, "body": {"email": "{email}", "role": "OWNER"}, "audit": None},
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
        words={"project": "another one"},
        constrained=("name",),
        other_statuses={409},
        audit=Audit("project.created", detail={"name": "another one"}),
    ),
    EndpointSpec(
        f"GET {ORG}/projects",
        ALL_ROLES,
        200,
        query="include=activity",
    ),
    EndpointSpec(f"GET {PROJECT}", ALL_ROLES, 200),
    EndpointSpec(
        f"PATCH {PROJECT}",
        ADMINS,
        200,
        body={"name": "{project}", "description": "{text}"},
        words={"project": "another one"},
        constrained=("name",),
        other_statuses={409},
        audit=Audit("project.changed", "project_id", {"from": "{project}", "to": "another one"}),
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
        body=NAMED | {"project_ids": ["{project_id}"], "networks": ["127.0.0.0/8"]},
        constrained=("name", "project_ids", "networks"),
        other_statuses={409},
        audit=Audit("api_key.created", detail={"name": "{text}"}),
    ),
    EndpointSpec(f"GET {ORG}/api-keys", ALL_ROLES, 200),
    EndpointSpec(f"GET {KEY}", ALL_ROLES, 200),
    EndpointSpec(
        f"POST {KEY}/rotate",
        ADMINS,
        201,
        other_statuses={409},
        audit=Audit("api_key.rotated", "key_id", {"name": "{text}"}),
    ),
    EndpointSpec(
        f"DELETE {KEY}",
        ADMINS,
        204,
        query="permanent=true",
        audit=Audit("api_key.deleted", "key_id", {"name": "{text}"}),
        variants=({"query": "", "audit": Audit("api_key.revoked", "key_id", {"name": "{text}"})},),
    ),
    EndpointSpec(
        f"GET {ORG}/audit-log",
        ADMINS,
        200,
        query=f"{PAGE}&actor_id={{user_id}}&action=project.created",
        in_contract=False,
    ),
    EndpointSpec(f"GET {ORG}/audit-log/refusals", ADMINS, 200, in_contract=False),
    EndpointSpec(f"GET {ORG}/audit-log/export", ADMINS, 200, in_contract=False),
)
