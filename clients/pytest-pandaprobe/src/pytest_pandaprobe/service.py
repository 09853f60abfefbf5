"""The requests to the server."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import batched
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

PAGE: Final = 200  # items in a response, the server's maximum
RESULTS_PER_REQUEST: Final = 10_000  # the server's maximum
TIMEOUT_S: Final = 60.0
ATTEMPTS_MAX: Final = 5  # of a request while the server is away, or refuses it for a while
PAUSE_S: Final = 1.0  # after the first of them; each further one is twice as long
PAUSE_MAX_S: Final = 30.0
POLL_S: Final = 1.0  # between two looks at a run
TRANSIENT: Final = frozenset({429, 502, 503, 504})
UNFINISHED: Final = frozenset({"PENDING", "RUNNING"})


class ServiceError(Exception):
    """The server isn't reached, or refuses a request; the message says why."""


class AwayError(ServiceError):
    """The server isn't reached, or refuses requests for a while."""


@dataclass(slots=True)
class Service:
    """A project of a server. Its methods raise ServiceError.

    `poll_s` is between two looks, `pause_s` before the second attempt of a request; later pauses
    are longer.
    """

    client: httpx.Client
    poll_s: float = POLL_S
    pause_s: float = PAUSE_S
    has_answered: bool = False

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self | None:
        """The project that the environment names; None without address or key: offline.

        Blanks around the values are left out: files of secrets end with a line break.
        """
        names = ("ENDPOINT", "API_KEY", "PROJECT_NAME")
        url, key, project = (environ.get(f"PANDAPROBE_{name}", "").strip() for name in names)
        if not url or not key:
            return None
        headers = {b"X-API-Key": _header(key, "PANDAPROBE_API_KEY")}
        if project:
            headers[b"X-Project-Name"] = _header(project, "PANDAPROBE_PROJECT_NAME")
        # A proxy of the environment doesn't reach this machine.
        try:
            uses_proxy = not _is_on_loopback(url)
            client = httpx.Client(
                base_url=url,
                headers=headers,
                timeout=TIMEOUT_S,
                trust_env=uses_proxy,
                verify=httpx.create_ssl_context(),  # with SSL_CERT_FILE, whatever the address
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ServiceError(f"PANDAPROBE_ENDPOINT is invalid: {error}") from error
        return cls(client)

    def version(self, dataset: str) -> str:
        """The hash of the newest version."""
        return str(self._send("GET", f"/datasets/{quote(dataset, safe='')}")["version"])

    def items(self, dataset: str, version: str, split: str | None) -> Iterator[dict[str, Any]]:
        params: dict[str, str | int] = {"version": version, "limit": PAGE}
        if split is not None:
            params["split"] = split
        while True:
            page = self._send("GET", f"/datasets/{quote(dataset, safe='')}/items", params=params)
            yield from page["items"]
            if page.get("next_cursor") is None:
                return
            params["cursor"] = page["next_cursor"]

    def create(self, body: Mapping[str, Any], key: str) -> str:
        """The id of the experiment that was made with this idempotency key, by any process."""
        created = self._send("POST", "/experiments", json=body, headers={"Idempotency-Key": key})
        return str(created["id"])

    def report(self, experiment: str, results: Sequence[Mapping[str, Any]]) -> list[str]:
        """Why some results were rejected, one text for each; the others are stored."""
        rejected = []
        for some in batched(results, RESULTS_PER_REQUEST):
            path = f"/experiments/{experiment}/results/batch"
            found = self._send("POST", path, json={"results": some})
            for one in found["rejected"]:
                sent = some[one["index"]]
                why = "; ".join(f"{it['field']} {it['message']}" for it in one["errors"])
                rejected.append(f"{sent['item']}, repetition {sent['repetition']}: {why}")
        return rejected

    def close(self, experiment: str) -> None:
        """Starts the run; closing again changes nothing."""
        self._send("POST", f"/experiments/{experiment}/close")

    def read(self, experiment: str) -> dict[str, Any]:
        return self._send("GET", f"/experiments/{quote(experiment, safe='')}")

    def wait(self, experiment: str, seconds: float) -> str:
        """The status of its run, once it is over or the time is; also if the server was away."""
        end = time.monotonic() + seconds
        while True:
            is_late = time.monotonic() >= end
            try:
                status = str(self.read(experiment)["status"])
            except AwayError:
                if is_late:
                    raise
            else:
                if is_late or status not in UNFINISHED:
                    return status
            time.sleep(self.poll_s)

    def compare(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("POST", "/experiments/compare", json=body)

    def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The response. Requests may be repeated: the server recognizes a repeated one."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            pause_s = self.pause_s * 2.0 ** (attempt - 1)
            try:
                response = self.client.request(method, path, **options)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                # A server that has never answered may be a wrong address.
                is_away = self.has_answered and isinstance(error, httpx.TransportError)
                # One that is slow would be slower yet with the same request twice.
                is_away &= not isinstance(error, httpx.ReadTimeout)
                if not is_away or attempt == ATTEMPTS_MAX:
                    raise AwayError(f"{self.client.base_url} isn't reached: {error}") from error
            else:
                self.has_answered = True
                if response.status_code not in TRANSIENT or attempt == ATTEMPTS_MAX:
                    break
                pause_s = _asked_pause(response, pause_s)
            time.sleep(min(PAUSE_MAX_S, pause_s))
        if not response.is_success:
            kind = AwayError if response.status_code in TRANSIENT else ServiceError
            raise kind(f"{method} {path}: {_reason(response)}")
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServiceError(f"{method} {path}: the response isn't a JSON object")
        return found


def _header(value: str, name: str) -> bytes:
    """Raises ServiceError for what no header may have. The library would show the whole value."""
    if not value.isprintable():
        raise ServiceError(f"{name} is invalid: it contains a character such as a line break")
    return value.encode()


def _is_on_loopback(url: str) -> bool:
    """Raises ValueError for a malformed address."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def _asked_pause(response: httpx.Response, default_s: float) -> float:
    """The seconds that the server asks to wait."""
    wait_s = response.headers.get("Retry-After", "")
    return float(wait_s) if wait_s.isdecimal() else default_s


def _reason(response: httpx.Response) -> str:
    try:
        problem = response.json()
        fields = [f"{one['field']}: {one['message']}" for one in problem.get("errors") or ()]
        return "; ".join([f"{response.status_code} {problem['detail']}", *fields])
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{response.status_code} {response.reason_phrase}"
