"""Clients that behave as the SDK does, and record what they sent and which answers they got."""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

RETRIED: Final = frozenset({429, 500, 502, 503, 504})
# unless the answer has Retry-After; after the last attempt the trace is dropped
RETRY_AFTER_S: Final = (0.5, 1.0, 2.0)
# On a busy machine this process stands still for seconds, which counts as time of its connections.
TIMEOUT: Final = httpx.Timeout(30, write=10)
PROJECT_MAX: Final = 100  # traces of one project: few enough to recount in one page
SPANS: Final = 3
PACE_S: Final = 0.02  # between two traces of a client: working agents, no flood
STARTED_AT: Final = "2026-03-01T09:00:00Z"
PAYLOAD: Final = "x" * 900
NO_RETRY_AFTER: Final = "503 without Retry-After"


@dataclass
class Sent:
    """One trace that is being sent; `spans` grows when a part is sent later."""

    project: str
    number: int
    spans: set[str]
    late: set[str] = field(default_factory=set)  # sent afterwards, and not known to be accepted
    accepted: bool = False


@dataclass
class Load:
    """Several clients that send concurrently, each to its own projects.

    `headers` returns the headers for a project's name. Every other trace is sent twice, as by a
    client that lost an answer; every third one gets another span in a separate request.
    """

    url: str
    headers: Callable[[str], Mapping[str, str]]
    clients: int = 8
    pace_s: float = PACE_S
    seed: int = 1
    sent: dict[str, Sent] = field(default_factory=dict)
    outcomes: Counter[object] = field(default_factory=Counter)
    dropped: int = 0
    slowest_s: float = 0.0  # of all requests, answered or not
    running: bool = True

    @property
    def accepted(self) -> int:
        """Counts answers of 2xx; a trace that is sent twice counts twice."""
        return self.outcomes[202] + self.outcomes[201]

    @property
    def unexpected(self) -> set[object]:
        """Returns answers that no fault excuses: all requests are valid and within the limits."""
        statuses: set[object] = {
            one for one in self.outcomes if isinstance(one, int) or one == NO_RETRY_AFTER
        }
        return statuses - {201, 202, 503}

    async def run(self) -> None:
        """Sends until `running` is False, and waits for the requests under way."""
        await asyncio.gather(*(self._client(n) for n in range(self.clients)))

    async def _client(self, number: int) -> None:
        rng = random.Random(self.seed * 1_000 + number)
        async with httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT) as http:
            count = 0
            while self.running:
                project = f"load-{self.seed}-{number}-{count // PROJECT_MAX}"
                await self._send_trace(http, project, count, rng)
                count += 1
                await asyncio.sleep(self.pace_s * 2 * rng.random())

    async def _send_trace(
        self, http: httpx.AsyncClient, project: str, number: int, rng: random.Random
    ) -> None:
        trace, spans = str(uuid.uuid4()), [str(uuid.uuid4()) for _ in range(SPANS)]
        self.sent[trace] = sent = Sent(project, number, set(spans))
        body = {
            "trace_id": trace,
            "name": f"t{number}",
            "started_at": STARTED_AT,
            "session_id": f"s{number % 10}",
            "user_id": f"u{number % 7}",
            "input": {"number": number},
            "spans": [a_span(id_) for id_ in spans],
        }
        for _ in range(1 + rng.randrange(2)):
            sent.accepted |= await self._deliver(http, project, "/traces", body)
        if sent.accepted and number % 3 == 0:
            id_ = str(uuid.uuid4())
            sent.late.add(id_)
            if await self._deliver(http, project, f"/traces/{trace}/spans", [a_span(id_)]):
                sent.late.remove(id_)
                sent.spans.add(id_)

    async def _deliver(
        self, http: httpx.AsyncClient, project: str, path: str, body: object
    ) -> bool:
        """Sends as often as the SDK would; returns whether it was accepted."""
        headers = {**self.headers(project), "X-Request-ID": uuid.uuid4().hex}
        for planned_s in (*RETRY_AFTER_S, None):
            wait_s, begin = planned_s, time.monotonic()
            try:
                answer = await http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.outcomes[type(error).__name__] += 1
            else:
                self.outcomes[answer.status_code] += 1
                if answer.status_code < 300:
                    return True
                if answer.status_code not in RETRIED:
                    break
                if answer.status_code == 503 and "Retry-After" not in answer.headers:
                    self.outcomes[NO_RETRY_AFTER] += 1
                if wait_s is not None:
                    wait_s = float(answer.headers.get("Retry-After", wait_s))
            finally:
                self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
        self.dropped += 1
        return False


def a_span(id_: str) -> dict[str, object]:
    return {
        "span_id": id_,
        "name": "step",
        "started_at": STARTED_AT,
        "input": PAYLOAD,
        "token_usage": {"prompt_tokens": 1},
    }
