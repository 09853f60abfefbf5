"""Signing in a browser with an OpenID provider, from its page and back, and what can go wrong."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from application.clock import utc_now
from domain.errors import NotFound, Unavailable
from domain.identity.browser_session import SignInMethod
from domain.identity.caller import SignInRules
from domain.identity.login_code import challenge_of
from domain.identity.sign_in_attempt import SignInProblem
from domain.limits import Limit
from entrypoints.composition.sign_in import open_sign_in
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.settings import read_settings
from tests.http.conftest import CONFIG, Site
from tests.support.fakes.openid_provider import ADA, Client, Provider, openid_provider

PUBLIC_URL = "https://traces.example.com"
CALLBACK = f"{PUBLIC_URL}/session/callback"
CLIENT, SECRET = "pandaprobe", "secret"
VERIFIER = "v" * 43
BIND = challenge_of(VERIFIER)
NAVIGATION = {"sec-fetch-site": "same-origin"}
METHODS = frozenset({SignInMethod.PROVIDER, SignInMethod.TOKEN, SignInMethod.KEY})


@dataclass
class Browser:
    """Follows redirects as a browser does, and keeps the cookies of the service."""

    site: Site
    cookies: dict[str, str] = field(default_factory=dict)
    strict: set[str] = field(default_factory=set)  # cookies that no request of another site has

    async def open(self, path: str, **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        withheld = self.strict if sent.get("sec-fetch-site") == "cross-site" else ()
        cookies = "; ".join(
            f"{name}={value}" for name, value in self.cookies.items() if name not in withheld
        )
        answer = await self.site.http.get(path, headers={"cookie": cookies} | sent)
        for text in answer.headers.get_list("set-cookie"):
            pair, _, attributes = text.partition(";")
            name, _, value = pair.partition("=")
            assert "HttpOnly" in attributes
            assert "Secure" in attributes
            self.cookies[name] = value
            if "SameSite=Strict" in attributes:
                self.strict.add(name)
            if "Max-Age=0" in attributes:
                del self.cookies[name]
        return answer

    async def leave(self, to: str = "/app/", bind: str = BIND) -> str:
        """The URL of the provider to which the service redirects."""
        path = f"/session/sign-in?bind={bind}&to={quote(to)}"
        answer = await self.open(path, sec_fetch_site="same-origin")
        assert answer.status_code == 303
        return answer.headers["location"]

    async def sign_in_there(self, url: str) -> str:
        """The path, with its query, to which the provider redirects."""
        async with httpx.AsyncClient(trust_env=False) as browser:
            back = await browser.get(url)
        assert back.status_code == 302, back.text
        assert back.headers["location"].startswith(f"{CALLBACK}?")
        return back.headers["location"].removeprefix(PUBLIC_URL)

    async def come_back(self, path: str) -> str:
        """Where the service redirects to in the end."""
        answer = await self.open(path, sec_fetch_site="cross-site")
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def sign_out(self) -> None:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        head = {"cookie": cookies, "x-session-verifier": VERIFIER} | NAVIGATION
        answer = await self.site.http.delete("/session", headers=head)
        for text in answer.headers.get_list("set-cookie"):
            if "Max-Age=0" in text:
                del self.cookies[text.partition("=")[0]]

    async def session(self, verifier: str = VERIFIER) -> dict[str, object]:
        answer = await self.open("/session", x_session_verifier=verifier, **NAVIGATED)
        return answer.json()


NAVIGATED = {"sec_fetch_site": "same-origin"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with openid_provider() as found:
        found.clients[CLIENT] = Client(CLIENT, SECRET, CALLBACK)
        yield found


@asynccontextmanager
async def served(provider: Provider, **swapped: object) -> AsyncIterator[Site]:
    environ = {
        "AUTH_ISSUER": provider.issuer,
        "AUTH_CLIENT_ID": CLIENT,
        "AUTH_CLIENT_SECRET": SECRET,
        "PUBLIC_URL": PUBLIC_URL,
    }
    settings = read_settings({f"PANDAPROBE_{name}": text for name, text in environ.items()})
    async with open_sign_in(settings) as sign_in:
        ports = {"sign_in_provider": sign_in.provider, "tokens": sign_in.tokens}
        config = replace(CONFIG, public_url=PUBLIC_URL, sign_in_methods=METHODS)
        site = Site(config=config, swapped=ports | swapped)
        async with site.http:
            yield site


@pytest.fixture
async def browser(provider: Provider) -> AsyncIterator[Browser]:
    async with served(provider) as site:
        yield Browser(site)


def problem_of(location: str) -> tuple[SignInProblem, str]:
    """The problem that the sign-in page shows, and where the person wanted to go."""
    assert location.startswith(f"{PUBLIC_URL}/app/sign-in?"), location
    query = parse_qs(urlsplit(location).query)
    return SignInProblem(query["problem"][0]), query["to"][0]


async def test_person_signs_in_with_the_provider(browser: Browser) -> None:
    assert "provider" in (await browser.session())["ways_in"]
    url = await browser.leave("/app/p/1?tab=io&x=%2F#top")
    assert set(browser.cookies) == {"__Host-pp_sign_in"}
    arrived = await browser.come_back(await browser.sign_in_there(url))
    assert arrived == f"{PUBLIC_URL}/app/p/1?tab=io&x=%2F#top"
    assert set(browser.cookies) == browser.strict == {"__Host-pp_session"}
    session = await browser.session()
    assert session["signed_in"] is True
    assert session["method"] == "provider"
    assert session["user"]["email"] == ADA["email"]
    assert len(session["projects"]) == 1
    assert (await browser.session("w" * 43))["signed_in"] is False
    assert browser.site.store.sign_in_attempts == {}
    await browser.sign_out()
    assert browser.cookies == {}


async def test_no_token_of_the_provider_is_stored(browser: Browser, provider: Provider) -> None:
    back = await browser.sign_in_there(await browser.leave())
    await browser.come_back(back)
    stored = repr(vars(browser.site.store))
    [code] = parse_qs(urlsplit(back).query)["code"]
    for secret in (code, VERIFIER, *browser.cookies.values(), "eyJ"):
        assert secret not in stored


async def test_denied_sign_in_says_so(browser: Browser, provider: Provider) -> None:
    provider.denies = True
    back = await browser.sign_in_there(await browser.leave("/app/p/1"))
    problem = problem_of(await browser.come_back(back))
    assert problem == (SignInProblem.DENIED, "/app/p/1")
    reported = await browser.open(f"/session?problem={problem[0]}", **NAVIGATED)
    assert reported.json()["problem"] == SignInProblem.DENIED.text
    assert (await browser.session())["signed_in"] is False


async def test_error_of_the_provider_says_so(browser: Browser) -> None:
    url = await browser.leave()
    [state] = parse_qs(urlsplit(url).query)["state"]
    path = f"/session/callback?error=server_error&error_description=%0Aoops&state={state}"
    assert problem_of(await browser.come_back(path))[0] is SignInProblem.PROVIDER_ERROR


async def test_answer_is_good_once(browser: Browser) -> None:
    """State, code and nonce."""
    back = await browser.sign_in_there(await browser.leave())
    cookies = dict(browser.cookies)
    await browser.come_back(back)
    sessions = dict(browser.site.store.browser_sessions)
    browser.cookies = cookies
    assert problem_of(await browser.come_back(back)) == (SignInProblem.EXPIRED, "/app/")
    # A code that another sign-in has used.
    url = await browser.leave()
    [state], [code] = (
        parse_qs(urlsplit(one).query)[name] for one, name in ((url, "state"), (back, "code"))
    )
    path = f"/session/callback?code={code}&state={state}"
    assert problem_of(await browser.come_back(path))[0] is SignInProblem.REFUSED
    assert browser.site.store.browser_sessions == sessions


async def test_another_browser_can_not_finish_the_sign_in(browser: Browser) -> None:
    back = await browser.sign_in_there(await browser.leave())
    other = Browser(browser.site)
    assert problem_of(await other.come_back(back))[0] is SignInProblem.EXPIRED
    # Also not while it has a sign-in of its own: the state is another one.
    await other.leave("/app/me")
    assert problem_of(await other.come_back(back)) == (SignInProblem.EXPIRED, "/app/me")
    assert browser.site.store.browser_sessions == {}


@pytest.mark.parametrize("nonce", ["another", None])
async def test_wrong_nonce_is_refused(
    browser: Browser, provider: Provider, nonce: str | None
) -> None:
    provider.overrides["nonce"] = nonce
    back = await browser.sign_in_there(await browser.leave())
    assert problem_of(await browser.come_back(back))[0] is SignInProblem.REFUSED
    assert browser.site.store.browser_sessions == {}


async def test_sign_in_expires(browser: Browser) -> None:
    browser.site.now = start = utc_now()
    back = await browser.sign_in_there(await browser.leave("/app/me"))
    browser.site.now = start + timedelta(minutes=10)
    assert problem_of(await browser.come_back(back))[0] is SignInProblem.EXPIRED


async def test_provider_that_is_down_says_so(browser: Browser, provider: Provider) -> None:
    back = await browser.sign_in_there(await browser.leave("/app/p/1"))
    provider.failure = 503
    problem = problem_of(await browser.come_back(back))
    assert problem == (SignInProblem.UNAVAILABLE, "/app/p/1")


@dataclass
class NoSessions:
    """Sessions none of which can be stored."""

    failure: Exception

    async def start(self, *_: object) -> None:
        raise self.failure


@pytest.mark.parametrize(
    ("failure", "problem"),
    [
        (Unavailable("The database is away"), (SignInProblem.UNAVAILABLE, "/app/")),
        (NotFound("User or key not found"), (SignInProblem.REFUSED, "/app/p/1")),
    ],
)
async def test_session_that_can_not_be_stored_says_so(
    provider: Provider, failure: Exception, problem: tuple[SignInProblem, str]
) -> None:
    async with served(provider, browser_sessions=NoSessions(failure)) as site:
        browser = Browser(site)
        back = await browser.sign_in_there(await browser.leave("/app/p/1"))
        assert problem_of(await browser.come_back(back)) == problem


async def test_provider_that_was_never_reachable_says_so() -> None:
    async with served(Provider("http://127.0.0.1:9")) as site:
        left = await Browser(site).leave("/app/p/1")
    assert problem_of(left) == (SignInProblem.UNAVAILABLE, "/app/p/1")


async def test_person_that_the_rules_exclude_gets_the_reason(provider: Provider) -> None:
    rules = SignInRules(email_domains=frozenset({"other.example"}))
    async with served(provider, sign_in_rules=rules) as site:
        browser = Browser(site)
        back = await browser.sign_in_there(await browser.leave())
        assert problem_of(await browser.come_back(back))[0] is SignInProblem.NOT_ALLOWED
        assert site.store.users == {}


@pytest.mark.parametrize(
    "to",
    [
        *("https://evil.example/", "//evil.example", "/\\evil.example", "/app", "app/"),
        *("/application", "/session/callback", "/app/\nx", "/app/\\evil", "/app/ä", "javascript:x"),
        "/app/" + "x" * 4_000,
        *("/cli-login", "/cli-login/token", "/cli-loginx?"),
    ],
)
async def test_destination_is_a_page_of_the_dashboard(browser: Browser, to: str) -> None:
    assert problem_of(await browser.leave(to))[1] == "/app/"


@pytest.mark.parametrize(
    "bind", ["", "short", quote("ä" * 43), "x" * 44, f"{BIND}&bind={BIND}", f"{BIND}&bind=x"]
)
async def test_sign_in_needs_the_challenge_of_the_page(browser: Browser, bind: str) -> None:
    assert problem_of(await browser.leave(bind=bind))[0] is SignInProblem.INVALID


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_foreign_page_begins_no_sign_in(browser: Browser, site: str) -> None:
    answer = await browser.open(f"/session/sign-in?bind={BIND}", sec_fetch_site=site)
    assert problem_of(answer.headers["location"])[0] is SignInProblem.INVALID
    assert browser.site.store.sign_in_attempts == {}


@pytest.mark.parametrize(
    "query", ["", "?code=x", "?state=x", "?error=access_denied", "?code=x&state=y&state=z", "?%ff"]
)
async def test_callback_without_a_sign_in_says_so(browser: Browser, query: str) -> None:
    assert problem_of(await browser.come_back(f"/session/callback{query}"))[0] is (
        SignInProblem.EXPIRED
    )


async def test_state_alone_is_refused(browser: Browser) -> None:
    [state] = parse_qs(urlsplit(await browser.leave()).query)["state"]
    back = await browser.come_back(f"/session/callback?state={state}")
    assert problem_of(back)[0] is SignInProblem.REFUSED


async def test_service_without_a_provider_says_so(site: Site) -> None:
    answer = await site.http.get(f"/session/sign-in?bind={BIND}", headers=NAVIGATION)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/app/sign-in?problem=not_offered")


async def test_sign_ins_are_limited_by_address(provider: Provider) -> None:
    async with served(provider) as site:
        site.limits[RouteClass.SIGN_IN] = Limit(1, "minute")
        browser = Browser(site)
        url = await browser.leave()
        assert url.startswith(provider.issuer)
        assert problem_of(await browser.leave())[0] is SignInProblem.TOO_MANY
        back = await browser.sign_in_there(url)
        assert problem_of(await browser.come_back(back))[0] is SignInProblem.TOO_MANY


class TestCommandLine:
    """A sign-in from /cli-login: its session gets one login code, and opens nothing else."""

    LINK = "/cli-login?port=40321&state=a%2Bb%20c&code_challenge=c&label=l"

    async def arrived(self, browser: Browser) -> str:
        return await browser.come_back(await browser.sign_in_there(await browser.leave(self.LINK)))

    async def ask(self, browser: Browser, method: str, path: str, **more: object) -> httpx.Response:
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        head = {"cookie": cookies, "x-session-verifier": VERIFIER, "sec-fetch-site": "same-origin"}
        return await browser.site.http.request(method, path, headers=head, **more)

    async def test_session_gets_one_code(self, browser: Browser) -> None:
        assert await self.arrived(browser) == f"{PUBLIC_URL}{self.LINK}"
        assert set(browser.cookies) == {"__Host-pp_cli_session"}
        answer_body = (await self.ask(browser, "GET", "/cli/auth/session")).json()
        assert answer_body["email"] == ADA["email"]
        [project] = answer_body["projects"]
        body = {
            "org_id": project["org_id"],
            "project_id": project["id"],
            "code_challenge": BIND,
            "label": "laptop",
        }
        issued = await self.ask(browser, "POST", "/cli/auth/codes", json=body)
        assert issued.status_code == 201, issued.text
        exchange = {"code": issued.json()["code"], "code_verifier": VERIFIER}
        key = await browser.site.http.post("/cli/auth/exchange", json=exchange)
        assert key.status_code == 200
        again = await self.ask(browser, "POST", "/cli/auth/codes", json=body)
        assert again.status_code == 401
        assert browser.site.store.browser_sessions == {}

    async def test_session_opens_nothing_else(self, browser: Browser) -> None:
        await self.arrived(browser)
        for path in ("/me", "/organizations", "/me/sessions"):
            assert (await self.ask(browser, "GET", path)).status_code == 401
        assert (await self.ask(browser, "GET", "/session")).json()["signed_in"] is False
        # Also not under the name of the other cookie.
        browser.cookies["__Host-pp_session"] = browser.cookies.pop("__Host-pp_cli_session")
        assert (await self.ask(browser, "GET", "/me")).status_code == 401
        assert (await self.ask(browser, "GET", "/cli/auth/session")).status_code == 401

    async def test_session_lasts_ten_minutes(self, browser: Browser) -> None:
        browser.site.now = start = utc_now()
        await self.arrived(browser)
        assert (await self.ask(browser, "GET", "/cli/auth/session")).status_code == 200
        browser.site.now = start + timedelta(minutes=10)
        assert (await self.ask(browser, "GET", "/cli/auth/session")).status_code == 401

    async def test_problem_goes_back_to_the_link(
        self, browser: Browser, provider: Provider
    ) -> None:
        provider.denies = True
        assert await self.arrived(browser) == f"{PUBLIC_URL}{self.LINK}&sign_in_problem=denied"
