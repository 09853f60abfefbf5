"""Requests to models, through pydantic-ai. Loading it takes a second and a hundred megabytes.

So only the model judge imports this module, with its first question.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, cast

import httpx2
from pydantic_ai import exceptions as raised
from pydantic_ai import messages
from pydantic_ai.direct import model_request
from pydantic_ai.models import Model, ModelRequestParameters, create_async_httpx2_client
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings

from adapters.judges import wire
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.scores.outcome import FailCode

# The providers' own addresses. Without them, environment variables could lead elsewhere.
OPENAI_URL: Final = "https://api.openai.com/v1"
ANTHROPIC_URL: Final = "https://api.anthropic.com"
GEMINI_URL: Final = "https://generativelanguage.googleapis.com"
VERBOSE_LOGGERS: Final = (  # libraries that log whole requests, or parts of them
    *("openai", "anthropic", "google_genai", "google.auth", "pydantic_ai"),
    *("httpx2", "httpcore2", "httpx", "httpcore", "urllib3"),
)

ANSWER_MAX_BYTES: Final = 4 << 20  # of a response; a verdict with long thoughts has 50 kB
RETRY_AFTER_MAX_S: Final = 60 * 60  # a provider that asks for more is asked again after this
TRANSIENT_STATUS: Final = frozenset({408, 409, 425})
TOO_LARGE_STATUS: Final = 413
UNSENT_PHASES: Final = frozenset({"pool", "connect"})  # the connection was never established

# The first match counts: most of the exceptions are instances of several of these.
_CODES: Final = (
    (TimeoutError, FailCode.JUDGE_TIMEOUT),
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


class ResponseTooLarge(Exception):  # noqa: N818 - becomes a ProviderError
    """The response has more than ANSWER_MAX_BYTES, or is compressed."""


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of a response. Reading raises ResponseTooLarge beyond ANSWER_MAX_BYTES."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > ANSWER_MAX_BYTES:
                raise ResponseTooLarge
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_body(response: httpx2.Response) -> None:
    """Bounds what the client reads. A small compressed body could be a large one."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ResponseTooLarge
    response.stream = _BoundedStream(cast("httpx2.AsyncByteStream", response.stream))


type ModelFactory = Callable[[str], Model]
"""Creates a model by its name without the provider. Raises UserError."""


class ModelClient:
    """Asks any model of one provider. One for each endpoint and process, closed at its end."""

    def __init__(self, endpoint: wire.Endpoint) -> None:
        for name in VERBOSE_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        timeout = httpx2.Timeout(wire.ATTEMPT_MAX_S, connect=wire.CONNECT_S)
        self._http = create_async_httpx2_client(timeout=timeout)  # it follows no redirect
        self._http.headers["accept-encoding"] = "identity"
        self._http.event_hooks["response"].append(_bound_body)
        self._create_model = _model_factory(endpoint, self._http)

    async def ask(
        self, name: str, request: wire.Request, seconds: float
    ) -> wire.Reply | wire.ProviderError:
        """Sends the request once, and waits at most so long. Raises only CancelledError."""
        try:
            # The client's own timeout is for each read: an answer may come byte by byte.
            async with asyncio.timeout(seconds):
                model = self._create_model(name)
                response = await model_request(
                    model,
                    _messages(request),
                    model_settings=_settings(model, request, seconds),
                    model_request_parameters=_parameters(model, request),
                    instrument=False,
                )
            return _reply(response)
        except Exception as error:  # noqa: BLE001 - each exception has a code, unforeseen ones included
            return provider_error(error)

    async def close(self) -> None:
        await self._http.aclose()


def _messages(request: wire.Request) -> Sequence[messages.ModelMessage]:
    system, user = messages.SystemPromptPart(request.system), messages.UserPromptPart(request.user)
    conversation: list[messages.ModelMessage] = [messages.ModelRequest(parts=[system, user])]
    if request.repaired is not None:
        answer, complaint = request.repaired
        conversation += [
            messages.ModelResponse(parts=[messages.TextPart(answer)]),
            messages.ModelRequest(parts=[messages.UserPromptPart(complaint)]),
        ]
    return conversation


def _settings(model: Model, request: wire.Request, seconds: float) -> ModelSettings:
    profile = model.profile
    thinks = bool(
        profile.get("thinking_always_enabled") or profile.get("thinking_enabled_by_default")
    )
    may_think = request.may_think or thinks or bool(profile.get("supports_thinking"))
    settings = ModelSettings(
        max_tokens=request.max_tokens + (wire.THOUGHT_TOKENS if may_think else 0),
        timeout=seconds,
        request_timeout=seconds,
        max_retries=0,
    )
    if not thinks and not profile.get("anthropic_disallows_sampling_settings"):
        settings["temperature"] = wire.TEMPERATURE
    return settings


def _parameters(model: Model, request: wire.Request) -> ModelRequestParameters:
    has_schemas = model.profile.get("supports_json_schema_output")
    return ModelRequestParameters(
        output_mode="native" if has_schemas else "prompted",
        output_object=OutputObjectDefinition(
            json_schema=dict(request.schema), name="verdict", strict=True
        ),
        allow_text_output=True,
    )


def _reply(response: messages.ModelResponse) -> wire.Reply | wire.ProviderError:
    usage = response.usage
    use = TokenUse(
        requests=1,
        input=usage.input_tokens,
        cache_read=usage.cache_read_tokens,
        cache_write=usage.cache_write_tokens,
        output=usage.output_tokens,
        reasoning=usage.output_reasoning_tokens,
    )
    if response.finish_reason == "content_filter":
        return wire.ProviderError(code=FailCode.CONTENT_FILTERED, use=use, kind="content_filter")
    return wire.Reply(
        text=response.text or "",
        model=response.model_name or "",
        use=use,
        is_cut=response.finish_reason == "length",
    )


def provider_error(error: Exception) -> wire.ProviderError:
    """The code of a client's exception; BAD_VERDICT for an unforeseen one.

    It keeps no text of the exception: providers quote keys and prompts.
    """
    status = error.status_code if isinstance(error, raised.ModelHTTPError) else None
    return wire.ProviderError(
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
    if any(isinstance(cause, ResponseTooLarge) for cause in _causes(error)):
        return FailCode.BAD_VERDICT
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return _google_code(error) or FailCode.BAD_VERDICT


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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


# --- providers -------------------------------------------------------------------------------
# ruff: noqa: PLC0415


def _model_factory(endpoint: wire.Endpoint, http: httpx2.AsyncClient) -> ModelFactory:
    """Imports only the client of this provider: each takes tens of megabytes."""
    key, url = endpoint.api_key, endpoint.base_url
    match endpoint.provider:
        case "openai":
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.providers.openai import OpenAIProvider

            openai = OpenAIProvider(base_url=url or OPENAI_URL, api_key=key, http_client=http)
            return lambda name: OpenAIChatModel(name, provider=openai)
        case "openai_compatible":
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.profiles.openai import OpenAIModelProfile
            from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

            # Every server knows the older name of the token limit.
            profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False)
            compatible = OpenAICompatibleProvider(
                endpoint.provider,
                base_url=url or "",
                api_key=key,
                http_client=http,
                profile=profile,
            )
            return lambda name: OpenAIChatModel(name, provider=compatible)
        case "anthropic":
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            claude = AnthropicProvider(base_url=url or ANTHROPIC_URL, api_key=key, http_client=http)
            return lambda name: AnthropicModel(name, provider=claude)
        case "gemini":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(base_url=url or GEMINI_URL, api_key=key, http_client=http)
            return lambda name: GoogleModel(name, provider=google)
        case "vertex_ai":
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google_cloud import GoogleCloudProvider

            cloud = GoogleCloudProvider(
                project=endpoint.project, location=endpoint.location, base_url=url, http_client=http
            )
            return lambda name: GoogleModel(name, provider=cloud)
    raise ValueError(f"no client for {endpoint.provider}")
