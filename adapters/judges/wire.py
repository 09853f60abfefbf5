"""What the model judge says to a provider and hears of it, told without any provider's library."""

from dataclasses import dataclass, field, replace
from typing import Final

from domain.evaluation.costs.judge_costs import ANSWER_TOKENS_MAX, CHECK_TOKENS_MAX
from domain.evaluation.judging.judge import TokenUse
from domain.evaluation.judging.prompt import Schema
from domain.evaluation.scores.outcome import FailCode

ATTEMPT_S: Final = 45.0  # of one request, where nothing else is said
ATTEMPT_MAX_S: Final = 90.0
CONNECT_S: Final = 5.0
ANSWER_TOKENS: Final = ANSWER_TOKENS_MAX
CHECK_TOKENS: Final = CHECK_TOKENS_MAX
UNTOLD: Final = TokenUse(requests=1)  # of a request whose tokens nobody told
THOUGHT_TOKENS: Final = 8_000  # more, where a model's thoughts count as a part of the answer
TEMPERATURE: Final = 0.0  # where a model takes it; nothing depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where models of one provider are asked, and with which key.

    `provider` begins their names. `base_url` is None for the provider's own address. Vertex AI has
    `project` and `location`, and takes the credentials of the machine.
    """

    provider: str
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)  # may hold a password
    project: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request: texts, the schema of the answer, and how long that may be.

    `repaired` are an answer that was no verdict and what was wrong with it, to be shown.
    `may_think` gives room for thoughts also where a model isn't known to have any.
    """

    system: str
    user: str
    schema: Schema
    max_tokens: int
    repaired: tuple[str, str] | None = None
    may_think: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said; `model` is the one that answered, without its provider.

    `is_cut` where it had no more tokens.
    """

    text: str
    model: str
    use: TokenUse
    is_cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why there is no reply. `was_sent` where the provider may have had the request.

    `retry_after_s` is what the provider asked for; 0 where it said nothing. `status` is that of
    HTTP, `kind` the name of what was raised: for the log.
    """

    code: FailCode
    use: TokenUse = UNTOLD
    was_sent: bool = True
    retry_after_s: int = 0
    status: int | None = None
    kind: str = ""


def again(request: Request, reply: Reply, complaint: str) -> Request:
    """The same request after an answer that was no verdict.

    One that was cut isn't shown: it gets more room instead, in which a model may think.
    """
    shown = None if reply.is_cut or not reply.text.strip() else (reply.text, complaint)
    return replace(request, repaired=shown, may_think=reply.is_cut)
