"""An identity provider in memory."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from domain.errors import Unauthenticated, Unavailable
from domain.identity.caller import Claims
from domain.identity.login_code import challenge_of
from domain.identity.sign_in_attempt import AuthorizationRequest


@dataclass(slots=True)
class MemorySignInProvider:
    """Gives a code for `claims` with `sign_in`; each code is good once. It may be down."""

    claims_of_person: Claims
    is_down: bool = False
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict)

    async def authorization_url(self, request: AuthorizationRequest) -> str:
        if self.is_down:
            raise Unavailable("The identity provider doesn't answer")
        query = {
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": challenge_of(request.code_verifier),
        }
        return f"https://issuer.test/authorize?{urlencode(query)}"

    def sign_in(self, query: Mapping[str, str]) -> str:
        """The code for a browser that came with the query of `authorization_url`."""
        code = secrets.token_hex(8)
        self.codes[code] = query
        return code

    async def claims(self, code: str, request: AuthorizationRequest) -> Claims:
        if self.is_down:
            raise Unavailable("The identity provider doesn't answer")
        query = self.codes.pop(code, None)
        if query is None or query["code_challenge"] != challenge_of(request.code_verifier):
            raise Unauthenticated("Invalid token")
        return replace(self.claims_of_person, nonce=query["nonce"])
