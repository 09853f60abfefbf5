"""Translates exceptions of providers' clients: a code, and when to ask again."""

import math
from typing import Final

from pydantic_ai import exceptions as raised

from adapters.judges.wire import ProviderError
from domain.evaluation.scores.outcome import FailCode

RETRY_AFTER_MAX_S: Final = 24 * 60 * 60  # a provider that asks for more gets this
TRANSIENT_STATUS: Final = frozenset({408, 409, 425})
TOO_LARGE_STATUS: Final = 413
UNSENT_PHASES: Final = frozenset({"pool", "connect"})  # the connection was never established

# The first match counts: most of the exceptions are instances of several of these.
_CODES: Final = (
    (raised.ModelTimeoutError, FailCode.JUDGE_TIMEOUT),
    (raised.ModelRequestTimeout, FailCode.JUDGE_TIMEOUT),
    (raised.ModelConnectionError, FailCode.JUDGE_UNREACHABLE),
    (raised.ModelQuotaExceededError, FailCode.QUOTA),
    (raised.ModelRateLimitError, FailCode.RATE_LIMITED),
    (raised.ModelUnavailableError, FailCode.PROVIDER_ERROR),
    (raised.ModelServerError, FailCode.PROVIDER_ERROR),
    (raised.ModelContextWindowExceededError, FailCode.TOO_LONG),
    (raised.ModelAuthenticationError, FailCode.AUTH),
    (raised.ModelNotFoundError, FailCode.UNKNOWN_MODEL),
    (raised.ModelRequestRejectedError, FailCode.REJECTED),
    (raised.ModelHTTPError, FailCode.REJECTED),
    (raised.ModelAPIError, FailCode.PROVIDER_ERROR),  # an answer that isn't JSON, a redirect
    (raised.UserError, FailCode.MISCONFIGURED),
    (raised.ContentFilterError, FailCode.CONTENT_FILTERED),
)


def provider_error(error: Exception) -> ProviderError:
    """The code of a client's exception; BAD_VERDICT for an unforeseen one.

    It keeps no text of the exception: providers quote keys and prompts.
    """
    status = error.status_code if isinstance(error, raised.ModelHTTPError) else None
    return ProviderError(
        code=_code(error, status),
        was_sent=_was_sent(error),
        retry_after_s=_retry_after_s(error),
        status=status,
        kind=type(error).__name__,
    )


def _code(error: Exception, status: int | None) -> FailCode:
    if status in TRANSIENT_STATUS:
        return FailCode.PROVIDER_ERROR
    if status == TOO_LARGE_STATUS:
        return FailCode.TOO_LONG
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return _google_code(error) or FailCode.BAD_VERDICT


def _google_code(error: Exception) -> FailCode | None:
    """The code of a fault of the machine's credentials, which the first request looks for."""
    if not type(error).__module__.startswith("google.auth."):
        return None
    is_transport = type(error).__name__ == "TransportError"
    return FailCode.JUDGE_UNREACHABLE if is_transport else FailCode.AUTH


def _was_sent(error: Exception) -> bool:
    if isinstance(error, raised.ModelConnectionError):
        return error.phase not in UNSENT_PHASES
    return not isinstance(error, raised.UserError) and _google_code(error) is None


def _retry_after_s(error: Exception) -> int:
    asked = error.retry_after if isinstance(error, raised.ModelAPIError) else None
    return 0 if asked is None else math.ceil(min(max(asked, 0.0), RETRY_AFTER_MAX_S))
