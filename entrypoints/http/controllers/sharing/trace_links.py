"""Public links to traces: making, listing and revoking them; and the setting that allows them."""

from uuid import UUID

from litestar import Controller

from application.use_cases import UseCases
from domain.identity.audit import AuditAction
from domain.identity.caller import Caller
from domain.sharing.trace_link import (
    LINK_DAYS_DEFAULT,
    LINK_DAYS_MAX,
    LINKS_PER_PROJECT_MAX,
    LINKS_PER_TRACE_MAX,
)
from entrypoints.http.authentication import CAN_SHARE, ORGANIZATION_MEMBER
from entrypoints.http.callers import OrganizationCaller
from entrypoints.http.controllers.organizations.schemas import OrganizationPath
from entrypoints.http.controllers.sharing import schemas
from entrypoints.http.controllers.traces.schemas import TracePath
from entrypoints.http.endpoint import delete, get, post, put


class SharingController(Controller):
    path = "/organizations/{org_id:str}/sharing"

    @get("/", ORGANIZATION_MEMBER, example={"public_links": False})
    async def read_sharing(
        self, caller: OrganizationCaller, path: OrganizationPath, use_cases: UseCases
    ) -> schemas.SharingResponse:
        """Read the sharing settings.

        Whether members may make public links to traces. A new organization forbids it.
        """
        organization = await use_cases.identity.read_organization(caller.membership)
        return schemas.SharingResponse(organization.public_links)

    @put(
        "/",
        ORGANIZATION_MEMBER,
        example={"public_links": True},
        body_example={"public_links": True},
    )
    async def change_sharing(
        self,
        caller: OrganizationCaller,
        content: schemas.ChangeSharingRequest,
        path: OrganizationPath,
        use_cases: UseCases,
    ) -> schemas.SharingResponse:
        """Change the sharing settings.

        For OWNER and ADMIN. False revokes all public links of the organization at once and for
        ever: they don't work again if it is true later.
        """
        await use_cases.identity.change_sharing(
            caller.person, caller.organization, public_links=content.public_links
        )
        return schemas.SharingResponse(content.public_links)


class TraceLinkController(Controller):
    path = "/traces/{trace_id:str}/links"

    @post(
        "/",
        CAN_SHARE,
        description=(
            "A reader with the link sees this trace without an account, and nothing else of the "
            "project. For any member with a token, if the organization allows public links "
            "(`PUT /organizations/{org_id}/sharing`), else 403; never for an API key. The link "
            f"ends after `expires_days`, at most {LINK_DAYS_MAX} and by default "
            f"{LINK_DAYS_DEFAULT}; when it is revoked; with the trace, its project and its "
            "organization; and when the organization forbids public links. A trace has at most "
            f"{LINKS_PER_TRACE_MAX} links, a project {LINKS_PER_PROJECT_MAX:,}."
        ),
        example=schemas.CREATED_LINK,
        body_example={"mask": True},
        has_secret=True,
    )
    async def create_trace_link(
        self,
        caller: Caller,
        content: schemas.CreateLinkRequest,
        path: TracePath,
        new_id: UUID,
        use_cases: UseCases,
    ) -> schemas.CreatedLinkResponse:
        """Make a public link to a trace."""
        link, token = await use_cases.sharing.create_link(
            caller,
            new_id,
            path.trace_id,
            is_masked=content.mask,
            has_scores=content.scores,
            days=content.expires_days,
        )
        return schemas.CreatedLinkResponse.from_domain(
            link, token=token, url=f"/app/shared/{token}"
        )

    @get("/", CAN_SHARE, example=[schemas.LINK])
    async def list_trace_links(
        self, caller: Caller, path: TracePath, use_cases: UseCases
    ) -> list[schemas.LinkResponse]:
        """List the public links to a trace.

        The newest first, without their secret part. Empty for an unknown trace.
        """
        links = await use_cases.sharing.list_links(caller.project_id, path.trace_id)
        return [schemas.LinkResponse.from_domain(one) for one in links]

    @delete("/{link_id:str}", CAN_SHARE)
    async def delete_trace_link(
        self, caller: Caller, path: schemas.LinkPath, use_cases: UseCases
    ) -> None:
        """Revoke a public link.

        Any member may revoke any link to a trace of the project. It stops to work at once.
        """
        audit = use_cases.audit.entry(
            caller, AuditAction.TRACE_LINK_DELETED, path.link_id, trace_id=path.trace_id
        )
        await use_cases.sharing.delete_link(
            caller.project_id, path.trace_id, path.link_id, audit=audit
        )
