"""What commands ask a server over HTTP: retries, and what is shown of its refusals."""

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import msgspec

from entrypoints.settings import PREFIX
from entrypoints.startup import CommandError, is_on_loopback

if TYPE_CHECKING:
    import httpx2

RETRIES_MAX: Final = 30  # of one request; enough for a restart of the server
WAIT_MAX_S: Final = 60.0  # before another attempt
TRANSIENT_STATUSES: Final = frozenset({429, 502, 503, 504})
TOO_LARGE: Final = 413
OK: Final = 200
UNAUTHORIZED: Final = 401
NOT_OURS: Final = "the answer isn't the server's: a proxy in front of it may have given it"
CREDENTIAL_HINT: Final = f". {PREFIX}API_KEY or --key sets the key"
ADDRESS_HINT: Final = f"Is it running? {PREFIX}ENDPOINT or --url sets its address"
JWT_DOTS: Final = 2  # between its three parts; a key has none


class FieldProblem(msgspec.Struct):
    field: str
    message: str


class _Problem(msgspec.Struct):
    detail: str = "without a reason"
    errors: list[FieldProblem] = msgspec.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Response:
    """The response to one request. The status is 0 if the server wasn't reached."""

    status: int
    body: bytes
    retry_after: str | None = None


type Post = Callable[[bytes], Awaitable[Response]]
"""Sends a body to an endpoint. Doesn't raise if the server isn't reached."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server, and its caller: a key with the name of a project, or a token with its id.

    `organization` is that of the project, for a token; None is the first one of the person.
    """

    url: str
    key: str
    project: str
    organization: str | None = None

    @classmethod
    def from_options(
        cls,
        url: str | None,
        key: str | None,
        project: str | None,
        *,
        described_in: str,
        organization: str | None = None,
    ) -> Self:
        """Blanks around them are left out: files of secrets end with a line break.

        Raises CommandError if one of them is missing; the page says where they come from.
        """
        given = {"url": url, "key": key, "project": project}
        options = {option: (value or "").strip() for option, value in given.items()}
        if missing := [f"--{option}" for option, value in options.items() if not value]:
            raise CommandError(
                f"{', '.join(missing)} must be given, or set in the environment as described in "
                f"{described_in}"
            )
        for option, value in options.items():
            check_sendable(value, f"--{option}")
        check_sendable(organization or "", "--organization")
        return cls(**options, organization=organization)

    def open(self) -> "httpx2.AsyncClient":
        """A client of the server. Raises CommandError for malformed options."""
        import httpx2  # noqa: PLC0415 - slow to import, and only such commands and workers need it

        # A token of a person (a JWT) takes the place of a key, and the project's id that of its
        # name.
        is_key = self.key.count(".") != JWT_DOTS
        credential = {"x-api-key": self.key} if is_key else {"authorization": f"Bearer {self.key}"}
        headers = {**credential, "x-project-name" if is_key else "x-project-id": self.project}
        if self.organization and not is_key:
            headers["x-organization-id"] = self.organization
        try:
            return httpx2.AsyncClient(
                base_url=self.url,
                headers=headers,
                timeout=60,
                trust_env=not is_on_loopback(self.url),
                verify=httpx2.create_ssl_context(),  # with SSL_CERT_FILE, whatever the address
            )
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise CommandError(
                f"--url, --key, --project or --organization is invalid: {error}"
            ) from error

    def unreachable_message(self, error: Exception) -> str:
        """That the server doesn't answer, and what to check."""
        reason = str(error) or type(error).__name__
        return f"{self.url} doesn't answer: {reason}. {ADDRESS_HINT}"

    def poster(self, client: "httpx2.AsyncClient", path: str, content_type: str) -> Post:
        """Sends bodies of a type to a path of the server."""
        import httpx2  # noqa: PLC0415 - as above

        async def post(body: bytes) -> Response:
            try:
                response = await client.post(
                    path, content=body, headers={"content-type": content_type}
                )
            except httpx2.UnsupportedProtocol as error:
                raise CommandError(f"--url {self.url}: {error}") from error
            except httpx2.HTTPError as error:
                return Response(0, self.unreachable_message(error).encode())
            return Response(
                response.status_code, response.content, response.headers.get("retry-after")
            )

        return post


def check_sendable(value: str, name: str) -> None:
    """Raises CommandError for what no header may have. The library would show the whole value."""
    if not value.isprintable():
        raise CommandError(f"{name} is invalid: it contains a character such as a line break")


async def post_with_retries(
    post: Post,
    body: bytes,
    report: Callable[[str], object],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    *,
    accepted: Container[int] = (OK, TOO_LARGE),
) -> Response:
    """The response, with one of the accepted statuses. Raises CommandError for others."""
    for attempt in range(RETRIES_MAX + 1):
        response = await post(body)
        if response.status in accepted:
            return response
        if response.status not in TRANSIENT_STATUSES and response.status:
            break
        if not attempt and not response.status:
            report(f"{problem_detail(response)}: retrying")
        if attempt < RETRIES_MAX:
            await sleep(wait_s(response, attempt))
    raise CommandError(problem_detail(response))


def wait_s(response: Response, attempt: int) -> float:
    after = response.retry_after
    wait = float(after) if after is not None and after.isdigit() else 2.0**attempt / 2
    return min(wait, WAIT_MAX_S)


def problem_detail(response: Response) -> str:
    if not response.status:
        return response.body.decode()
    try:
        problem = msgspec.json.decode(response.body, type=_Problem)
    except ValueError:
        problem = _Problem(NOT_OURS)
    # Some details only count the errors, or say that there are any.
    errors = [f"{one.field}: {one.message}".removeprefix(": ") for one in problem.errors]
    others = [one for one in errors if one not in problem.detail]
    hint = CREDENTIAL_HINT if response.status == UNAUTHORIZED else ""
    return f"{response.status}: {'; '.join([problem.detail, *others])}{hint}"
