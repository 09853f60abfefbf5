"""`mcp`: reads its options, and serves stdio or HTTP until the client or a signal ends it."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from msgspec.structs import replace

from domain.evaluation.evidence.redaction import RedactionMode
from entrypoints.cli.server_client import check_sendable
from entrypoints.composition.identity_provider import identity_provider
from entrypoints.mcp import http_server, server
from entrypoints.mcp.http_server import HttpOptions
from entrypoints.mcp.service_client import Credential
from entrypoints.settings import PREFIX, Settings, variable
from entrypoints.startup import (
    CommandError,
    base_url,
    host_and_port,
    listen,
    print_line,
    product_version,
)

_SCHEMES: Final = ("http", "https")


def run(
    settings: Settings,
    *,
    url: str | None,
    key: str | None,
    project: str | None,
    is_http: bool,
    organization: str | None = None,
) -> int:
    """Returns the exit status. Raises CommandError for incomplete options."""
    url = (url or base_url(settings)).strip()
    if urlsplit(url).scheme not in _SCHEMES:
        raise CommandError(f"the address of the API must begin with https://, not {url!r}")
    masking, version = RedactionMode(settings.eval_mask), product_version()
    if is_http:
        options = http_options(settings, project, organization)
        with listen(replace(settings, port=settings.mcp_port), "mcp_port") as listening:
            listening.listen()  # from the line on, clients can connect
            print_line(f"MCP at {options.public_url}, for the API at {url}")
            asyncio.run(http_server.serve_http(url, masking, options, version, listening))
        return 0
    if not key or not project:
        raise CommandError(
            f"{PREFIX}API_KEY and {PREFIX}PROJECT_NAME must be set, or a `dev` must run on "
            f"{variable('data_dir')}: they say whose traces the agent may read"
        )
    key, project = key.strip(), project.strip()
    check_sendable(key, f"{PREFIX}API_KEY")
    check_sendable(project, f"{PREFIX}PROJECT_NAME")
    check_sendable(organization or "", "--organization")
    credential = Credential(key, project, organization)
    asyncio.run(server.serve_stdio(url, credential, masking, version))
    return 0


def http_options(
    settings: Settings, project: str | None, organization: str | None = None
) -> HttpOptions:
    """Where the server listens, as the settings say it."""
    provider = identity_provider(settings)
    local = f"http://{host_and_port(settings.host, settings.mcp_port)}{http_server.PATH}"
    return HttpOptions(
        host=settings.host,
        port=settings.mcp_port,
        public_url=settings.mcp_public_url or local,
        keep_alive_s=settings.keep_alive_seconds,
        origins=settings.allowed_origins,
        issuer=None if provider is None else provider.issuer,
        project=project,
        organization=organization,
    )
