"""Confirmation ids: a run starts only as it was estimated, by who asked, and soon after."""

import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from entrypoints.mcp.service_client import Credential, ToolError

CONFIRM_S: Final = 600
_PURPOSE: Final = b"confirmation of a run"
_DIGITS: Final = 32  # of the digest: 128 bits


def confirmation_id(
    credential: Credential, path: str, body: Mapping[str, object], now_s: int
) -> str:
    """An id for a run with this body, valid for CONFIRM_S from `now_s`.

    It depends on the secret of the credential, so that neither an agent nor the text of a trace can
    make one, and on the whole body: for another run it isn't valid. No state is kept.
    """
    expires = now_s + CONFIRM_S
    return f"{expires:x}-{_digest(credential, path, body, expires)}"


def check_confirmation(
    confirmation: str, credential: Credential, path: str, body: Mapping[str, object], now_s: int
) -> None:
    """Raises ToolError unless the id is that of a run with this body, and hasn't expired."""
    written, _, digest = confirmation.partition("-")
    try:
        expires = int(written, 16)
    except ValueError:
        expires = 0
    expected = _digest(credential, path, body, expires)
    if not hmac.compare_digest(digest.encode(errors="replace"), expected.encode()):
        raise ToolError(
            "this confirmation is not for a run with these arguments: call run_evaluation without "
            "`confirm` to get the estimate of this run, and confirm that"
        )
    if now_s > expires:
        raise ToolError(
            f"this confirmation has expired after {CONFIRM_S // 60} minutes: call run_evaluation "
            "without `confirm` for a new estimate"
        )


def _digest(credential: Credential, path: str, body: Mapping[str, object], expires: int) -> str:
    key = hmac.digest(credential.secret.encode(), _PURPOSE, "sha256")
    about = msgspec.json.encode(
        [path, credential.project, credential.organization, body, expires], order="sorted"
    )
    return hmac.digest(key, about, "sha256").hex()[:_DIGITS]
