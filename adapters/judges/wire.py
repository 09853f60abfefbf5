"""Requests to providers and their answers, in types of our own.

This module imports no provider's library, so that the model judge can be loaded without one.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from domain.evaluation.costs.judge_costs import (
    ANSWER_TOKENS_MAX,
    CHECK_TOKENS_MAX,
    THOUGHT_TOKENS_MAX,
)
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.judging.prompt import Schema
from domain.evaluation.scores.outcome import FailCode

ATTEMPT_S: Final = 45.0  # of one request: the default
ATTEMPT_MAX_S: Final = 90.0
CONNECT_S: Final = 5.0
ANSWER_TOKENS: Final = ANSWER_TOKENS_MAX
CHECK_TOKENS: Final = CHECK_TOKENS_MAX
UNREPORTED_USE: Final = TokenUse(requests=1)  # of a request whose tokens were not reported
THOUGHT_TOKENS: Final = THOUGHT_TOKENS_MAX  # if a model's thoughts count as part of the answer
TEMPERATURE: Final = 0.0  # for models that take one; nothing depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of one provider, and the key for it.

    The names of its models begin with `provider`. `base_url` is None for the provider's own
    address. Vertex AI has `project` and `location`, and uses the credentials of the machine.
    """

    provider: str
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)  # may hold a password
    project: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: texts, the schema of the answer, and how long that may be.

    `repaired` is set in a second request: an answer that was no verdict, and what was wrong with
    it. `may_think` allows tokens for thoughts even if the model isn't known to think.
    """

    system: str
    user: str
    schema: Schema
    max_tokens: int
    repaired: tuple[str, str] | None = None
    may_think: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer of a model; `model` is the one that answered, without its provider.

    `is_cut` if it ran out of tokens.
    """

    text: str
    model: str
    use: TokenUse
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderError:
    """An error in place of a reply. `was_sent` if the provider may have received the request.

    `retry_after_s` is what the provider asked for, 0 if it asked for nothing. `status` is the HTTP
    status, `kind` the name of the exception: both for the log.
    """

    code: FailCode
    use: TokenUse = UNREPORTED_USE
    was_sent: bool = True
    retry_after_s: int = 0
    status: int | None = None
    kind: str = ""


def repair_request(request: Request, reply: Reply, complaint: str) -> Request:
    """The same request after an answer that was no verdict.

    An answer that was cut isn't shown: the next gets more tokens instead, also for thoughts.
    """
    shown = None if reply.is_cut or not reply.text.strip() else (reply.text, complaint)
    return replace(request, repaired=shown, may_think=reply.is_cut)
