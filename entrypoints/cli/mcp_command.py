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
_PROJECT: Final = f"--project or {PREFIX}PROJECT_NAME"
_ORGANIZATION: Final = "--organization"


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
    credential = stdio_credential(key, project, organization)
    asyncio.run(server.serve_stdio(url, credential, masking, version))
    return 0


def stdio_credential(
    key: str | None, project: str | None, organization: str | None = None
) -> Credential:
    """The credential of all calls over stdio. Raises CommandError without key or project."""
    secret = _sendable(key, f"{PREFIX}API_KEY")
    project = _sendable(project, _PROJECT)
    if secret is None or project is None:
        raise CommandError(
            f"{PREFIX}API_KEY and {PREFIX}PROJECT_NAME must be set, or a `dev` must run on "
            f"{variable('data_dir')}: they say whose traces the agent may read"
        )
    return Credential(secret, project, _sendable(organization, _ORGANIZATION))


def _sendable(value: str | None, name: str) -> str | None:
    """A value without blanks around it: files of secrets end with a line break."""
    stripped = (value or "").strip()
    check_sendable(stripped, name)
    return stripped or None


def http_options(
    settings: Settings, project: str | None, organization: str | None = None
) -> HttpOptions:
    """Where the server listens, as the settings say it. Raises CommandError."""
    provider = identity_provider(settings)
    local = f"http://{host_and_port(settings.host, settings.mcp_port)}{http_server.PATH}"
    return HttpOptions(
        host=settings.host,
        port=settings.mcp_port,
        public_url=settings.mcp_public_url or local,
        keep_alive_s=settings.keep_alive_seconds,
        origins=settings.allowed_origins,
        issuer=None if provider is None else provider.issuer,
        project=_sendable(project, _PROJECT),
        organization=_sendable(organization, _ORGANIZATION),
    )
