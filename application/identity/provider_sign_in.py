"""Sign-in of browsers with the identity provider: authorization code flow with PKCE."""

from dataclasses import dataclass

from application.identity.authenticate import PersonAdmission
from application.identity.ports import SignInAttempts, SignInProvider
from application.ports import Clock, RandomBytes
from domain.errors import Forbidden, Unauthenticated, Unavailable
from domain.identity.audit import Origin
from domain.identity.browser_session import COOKIE_BYTES, cookie_digest
from domain.identity.caller import Claims, Person
from domain.identity.login_code import format_code
from domain.identity.sign_in_attempt import (
    AuthorizationRequest,
    SignInAttempt,
    SignInFailed,
    SignInProblem,
)


@dataclass(frozen=True, slots=True)
class BeginSignIn:
    """Begins a sign-in. `provider` is None if this service has none."""

    provider: SignInProvider | None
    attempts: SignInAttempts
    clock: Clock
    random: RandomBytes

    async def __call__(self, verifier_hash: bytes, destination: str) -> tuple[str, str]:
        """The URL of the provider, and the text of the attempt's cookie. Raises SignInFailed."""
        if self.provider is None:
            raise SignInFailed(SignInProblem.NOT_OFFERED, destination)
        cookie = format_code(self.random(COOKIE_BYTES))
        attempt = SignInAttempt.begin(cookie, verifier_hash, destination, self.clock())
        try:
            url = await self.provider.authorization_url(AuthorizationRequest.from_cookie(cookie))
            await self.attempts.add(attempt)
        except Unavailable as error:
            raise SignInFailed(SignInProblem.UNAVAILABLE, destination) from error
        return url, cookie


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """What the provider sent along with the browser: a code, or an error; and the state."""

    state: str
    code: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class FinishSignIn:
    """Finishes a sign-in with the provider's answer. An attempt can be finished once."""

    provider: SignInProvider | None
    attempts: SignInAttempts
    admission: PersonAdmission
    clock: Clock

    async def __call__(
        self, cookie: str | None, answer: ProviderAnswer, origin: Origin
    ) -> tuple[Person, SignInAttempt]:
        """Raises SignInFailed, Unavailable if the database doesn't answer."""
        attempt = None
        if cookie is not None:
            attempt = await self.attempts.take(cookie_digest(cookie))
        if cookie is None or attempt is None or attempt.expires_at <= self.clock():
            raise SignInFailed(SignInProblem.EXPIRED)
        request, destination = AuthorizationRequest.from_cookie(cookie), attempt.destination
        if not request.has_state(answer.state):
            raise SignInFailed(SignInProblem.EXPIRED, destination)
        if answer.error is not None:
            is_denied = answer.error == "access_denied"
            problem = SignInProblem.DENIED if is_denied else SignInProblem.PROVIDER_ERROR
            raise SignInFailed(problem, destination)
        claims = await self._claims(answer.code, request, destination)
        if not request.has_nonce(claims.nonce):
            raise SignInFailed(SignInProblem.REFUSED, destination)
        try:
            return await self.admission.admit(claims, origin), attempt
        except Forbidden as error:
            raise SignInFailed(SignInProblem.NOT_ALLOWED, destination) from error

    async def _claims(
        self, code: str | None, request: AuthorizationRequest, destination: str
    ) -> Claims:
        if self.provider is None:
            raise SignInFailed(SignInProblem.NOT_OFFERED, destination)
        if code is None:
            raise SignInFailed(SignInProblem.REFUSED, destination)
        try:
            return await self.provider.claims(code, request)
        except Unavailable as error:
            raise SignInFailed(SignInProblem.UNAVAILABLE, destination) from error
        except Unauthenticated as error:
            raise SignInFailed(SignInProblem.REFUSED, destination) from error
