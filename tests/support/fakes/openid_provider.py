"""An OpenID provider on loopback: Authlib's, with users and clients in memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

SHUTDOWN_POLL_S = 0.01  # how often the server looks whether it has to stop
CALLBACK = "https://app.example.com/callback"
ADA = {"sub": "ada-1", "email": "ada@example.com", "name": "Ada Lovelace"}


@cache  # each process imports this module, and one in three starts a provider
def signing_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "signing", "use": "sig", "alg": "RS256"})


@dataclass
class Client(ClientMixin):
    """A client with a secret if it has one, else a public client, such as a page in a browser."""

    client_id: str
    secret: str | None = None
    redirect_uri: str = CALLBACK

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.redirect_uri

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method == "none") is (self.secret is None)

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):
    """A code for one sign-in, with the parameters of its request."""

    code: str
    client_id: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    user: dict[str, str]
    redirect_uri: str = CALLBACK

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


@dataclass
class Provider:
    """`issuer` is its address; every browser is signed in there as `user`.

    `clients` have a secret or another redirect URI than CALLBACK; all other ids are public clients.
    If it `denies`, the person declines. `hidden` are the claims that only the userinfo endpoint
    has. `overrides` replace claims of ID tokens. A `failure` is the status of every token request.
    """

    issuer: str
    codes: dict[str, Code] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=lambda: dict(ADA))
    denies: bool = False
    hidden: frozenset[str] = frozenset()
    overrides: dict[str, Any] = field(default_factory=dict)
    failure: int | None = None
    userinfo: dict[str, Any] | None = None  # what that endpoint says; None: all of `user`
    userinfo_is_refused: bool = False


class CodeGrant(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

    @property
    def codes(self) -> dict[str, Code]:
        return self.server.provider.codes

    def save_authorization_code(self, code: str, request: Any) -> None:
        form = request.payload.data
        self.codes[code] = Code(
            code=code,
            client_id=request.client.client_id,
            scope=request.payload.scope,
            nonce=form.get("nonce"),
            code_challenge=form.get("code_challenge"),
            code_challenge_method=form.get("code_challenge_method"),
            user=request.user,
            redirect_uri=request.client.redirect_uri,
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        found = self.codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, authorization_code: Code) -> None:
        del self.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: Code) -> dict[str, str]:
        return authorization_code.user


class IdToken(OpenIDCode):
    def __init__(self, provider: Provider) -> None:
        super().__init__(require_nonce=True)
        self.provider = provider

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return False

    def resolve_client_private_key(self, client: Client) -> RSAKey:
        return signing_key()

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_encode_header(self, client: Client) -> dict[str, str]:
        return {"alg": "RS256", "kid": signing_key().kid}

    def get_client_claims(self, client: Client) -> dict[str, str]:
        return {"iss": self.provider.issuer}

    def generate_user_info(self, user: dict[str, str], scope: str) -> UserInfo:
        shown = {name: value for name, value in user.items() if name not in self.provider.hidden}
        return UserInfo(shown | self.provider.overrides)


def _serve(app: Flask, provider: Provider) -> None:
    def find_client(client_id: str) -> Client:
        return provider.clients.get(client_id) or Client(client_id)

    server = AuthorizationServer(
        app, query_client=find_client, save_token=lambda token, request: None
    )
    server.provider = provider
    server.register_grant(CodeGrant, [IdToken(provider), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def discovery() -> Any:
        return jsonify(
            issuer=provider.issuer,
            authorization_endpoint=f"{provider.issuer}/authorize",
            token_endpoint=f"{provider.issuer}/token",
            jwks_uri=f"{provider.issuer}/jwks",
            userinfo_endpoint=f"{provider.issuer}/userinfo",
            token_endpoint_auth_methods_supported=["client_secret_post"],
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256"],
        )

    @app.get("/jwks")
    def jwks() -> Any:
        return jsonify(KeySet([RSAKey.import_key(signing_key().as_dict(private=False))]).as_dict())

    @app.get("/authorize")
    def authorize() -> Any:
        person = None if provider.denies else provider.user
        grant = server.get_consent_grant(end_user=person)
        return server.create_authorization_response(grant=grant, grant_user=person)

    @app.post("/token")
    def token() -> Any:
        if provider.failure is not None:
            return jsonify(error="server_error"), provider.failure
        return server.create_token_response()

    @app.get("/userinfo")
    def userinfo() -> Any:
        is_known = request.headers.get("authorization", "").startswith("Bearer ")
        if provider.userinfo_is_refused or not is_known:
            return "", 401
        return jsonify(provider.user if provider.userinfo is None else provider.userinfo)


@contextmanager
def openid_provider() -> Iterator[Provider]:
    app = Flask("openid-provider")
    http = make_server("127.0.0.1", 0, app, threaded=True)
    provider = Provider(f"http://127.0.0.1:{http.server_port}")
    _serve(app, provider)
    thread = threading.Thread(
        target=http.serve_forever, kwargs={"poll_interval": SHUTDOWN_POLL_S}, daemon=True
    )
    thread.start()
    try:
        yield provider
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
