"""Accepts the tokens of several issuers."""

import json
from collections.abc import Mapping

from joserfc import jws

from adapters.oidc.tokens import INVALID, TOKEN_MAX, hide_token_errors
from application.identity.ports import Tokens
from domain.errors import Unauthenticated
from domain.identity.user import Claims


class TokensByIssuer:
    """Verifies a token with the verifier of the issuer that it names, and with no other.

    `by_issuer` maps an `iss` to its verifier. If it is empty, every token is refused.
    """

    def __init__(self, by_issuer: Mapping[str, Tokens]) -> None:
        self._by_issuer = dict(by_issuer)

    async def verify(self, token: str) -> Claims:
        with hide_token_errors():
            verifier = self._by_issuer.get(_claimed_issuer(token))
        if verifier is None:
            raise Unauthenticated(INVALID)
        # `iss` is unverified so far. The verifier checks it after the signature.
        return await verifier.verify(token)


def _claimed_issuer(token: str) -> str:
    """The `iss` that a token claims, unverified."""
    if len(token) > TOKEN_MAX:
        raise Unauthenticated(INVALID)
    issuer = json.loads(jws.extract_compact(token.encode("ascii")).payload)["iss"]
    if not isinstance(issuer, str):
        raise Unauthenticated(INVALID)
    return issuer
