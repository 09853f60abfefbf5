"""Contract of Tokens, run against every adapter. Attacks: tests/adapters/oidc/test_tokens.py."""

from pathlib import Path

import pytest

from adapters.memory.identity.identity import MemoryTokens
from adapters.oidc.tokens import DevelopmentIssuer, JwtTokens, TokensByIssuer, static_keys
from application.identity.ports import Tokens
from domain.errors import Unauthenticated
from domain.identity.caller import Claims
from tests.support.builders.values import NOON

ADA = Claims(
    issuer=DevelopmentIssuer.ISSUER, subject="ada", email="ada@example.com", display_name="Ada"
)


@pytest.fixture(params=["memory", "jwt", "by issuer"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tokens, str]:
    """An adapter, and a token of Ada that it accepts."""
    if request.param == "memory":
        return MemoryTokens({"header.claims.signature": ADA}), "header.claims.signature"
    issuer = DevelopmentIssuer.load_or_create(tmp_path)
    tokens = JwtTokens(
        static_keys(issuer.keys()),
        issuer=issuer.ISSUER,
        audiences=[issuer.AUDIENCE],
        clock=lambda: NOON,
    )
    token = issuer.token(
        subject=ADA.subject, email=ADA.email, name=ADA.display_name, expires_in_s=60, now=NOON
    )
    by_issuer = request.param == "by issuer"
    return TokensByIssuer({ADA.issuer: tokens}) if by_issuer else tokens, token


async def test_valid_token_gives_claims(adapter):
    tokens, token = adapter
    assert [await tokens.verify(token) for _ in range(2)] == [ADA, ADA]


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token + ".",
        lambda token: " " + token,
        lambda token: token.upper(),
        lambda token: token.rsplit(".", 1)[0] + ".",
        lambda token: token.split(".")[1],
    ],
)
async def test_invalid_token_is_rejected_with_one_message(adapter, corrupt):
    tokens, token = adapter
    with pytest.raises(Unauthenticated) as refused:
        await tokens.verify(corrupt(token))
    assert refused.value.message == "Invalid token"
