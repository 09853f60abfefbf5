"""Public links to traces."""

from tests.support.endpoints.spec import (
    ADMINS,
    ALL_ROLES,
    ANONYMOUS,
    PROJECT_MEMBERS,
    Audit,
    EndpointSpec,
    beyond_contract,
)

SHARING = "/organizations/{org_id}/sharing"
LINKS = "/traces/{trace_id}/links"
SHARED = "/shared/{token}"
ENDPOINTS = beyond_contract(
    EndpointSpec(f"GET {SHARING}", ALL_ROLES, 200),
    EndpointSpec(
        f"PUT {SHARING}",
        ADMINS,
        200,
        body={"public_links": False},
        audit=Audit(
            "organization.sharing_changed", "org_id", {"public_links": "false", "revoked": "1"}
        ),
    ),
    EndpointSpec(
        f"POST {LINKS}",
        PROJECT_MEMBERS,
        201,
        body={"mask": True},
        takes_key=True,
        has_secret=True,
        audit=Audit("trace_link.created", detail={"masked": "True"}),
    ),
    EndpointSpec(f"GET {LINKS}", PROJECT_MEMBERS, 200),
    EndpointSpec(
        f"DELETE {LINKS}/{{link_id}}",
        PROJECT_MEMBERS,
        204,
        audit=Audit("trace_link.deleted", "link_id"),
    ),
    EndpointSpec(f"GET {SHARED}", ANONYMOUS, 200),
    EndpointSpec(f"GET {SHARED}/spans/{{span_id}}", ANONYMOUS, 200),
    EndpointSpec(
        f"GET {SHARED}/payload",
        ANONYMOUS,
        200,
        query="name=input&span_id={span_id}",
        other_statuses={416},
    ),
)
