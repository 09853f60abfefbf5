"""Issuers that are believed side by side, each for its own tokens."""

import json
from collections.abc import Mapping

from joserfc import jws

from adapters.oidc.tokens import INVALID, TOKEN_MAX, told_briefly
from application.identity.ports import Tokens
from domain.errors import Unauthenticated
from domain.identity.user import Claims


class Issuers:
    """Verifies a token with the issuer that it names, and with that one alone.

    `by_name` holds one verifier an issuer, by its `iss`; with none nobody is believed.
    """

    def __init__(self, by_name: Mapping[str, Tokens]) -> None:
        self._by_name = dict(by_name)

    async def verify(self, token: str) -> Claims:
        with told_briefly():
            issuer = self._by_name.get(_named(token))
        if issuer is None:
            raise Unauthenticated(INVALID)
        # The name wasn't checked yet: the verifier does, once the signature is good.
        return await issuer.verify(token)


def _named(token: str) -> str:
    """The `iss` that a token claims, unverified."""
    if len(token) > TOKEN_MAX:
        raise Unauthenticated(INVALID)
    named = json.loads(jws.extract_compact(token.encode("ascii")).payload)["iss"]
    if not isinstance(named, str):
        raise Unauthenticated(INVALID)
    return named
