"""Bodies of POST /traces as agents send them, deterministic by seed."""

import json
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final

WORDS: Final = [
    "the",
    "order",
    "was",
    "placed",
    "on",
    "Monday",
    "and",
    "the",
    "customer",
    "asks",
    "where",
    "it",
    "is",
    "now",
    "please",
    "check",
    "the",
    "carrier",
    "status",
    "then",
    "answer",
    "politely",
    "with",
    "the",
    "tracking",
    "number",
    "and",
    "an",
    "estimate",
    "of",
    "arrival",
    "if",
    "the",
    "parcel",
    "is",
    "late",
    "offer",
    "a",
    "refund",
    "according",
    "to",
    "policy",
    "section",
    "four",
    "and",
    "note",
    "it",
]
KINDS: Final = ("AGENT", "LLM", "TOOL", "LLM", "RETRIEVER", "LLM", "TOOL", "CHAIN")
START: Final = datetime(2026, 3, 1, 9, tzinfo=UTC)
SPREAD_S: Final = 3_600  # agents send traces as they happen


def body(random_: random.Random, spans: int) -> bytes:
    """Returns a trace of `spans` spans with new ids; about 2 kB per span, 1 kB for three spans."""
    started = START + timedelta(seconds=random_.randrange(SPREAD_S))
    size = 150 if spans <= 3 else 760
    root = _id(random_)
    return json.dumps(
        {
            "trace_id": _id(random_),
            "name": random_.choice(("answer-question", "triage-ticket", "plan-trip")),
            "status": "COMPLETED",
            "started_at": started.isoformat(),
            "ended_at": (started + timedelta(seconds=random_.random() * 20)).isoformat(),
            "session_id": f"conv-{random_.randrange(10_000)}",
            "user_id": f"u-{random_.randrange(1_000)}",
            "tags": ["prod", random_.choice("abc")],
            "environment": "production",
            "release": "1.4.0",
            "metadata": {"sdk": "bench", "run": random_.randrange(1_000)},
            "input": {"messages": [{"role": "user", "content": _text(random_, 120)}]},
            "output": {"messages": [{"role": "assistant", "content": _text(random_, 200)}]},
            "spans": [
                _span(random_, n, started, _id(random_) if n else root, root if n else None, size)
                for n in range(spans)
            ],
        }
    ).encode()


def _span(
    random_: random.Random, n: int, started: datetime, id_: str, parent: str | None, size: int
) -> dict[str, object]:
    kind = KINDS[n % len(KINDS)]
    start = started + timedelta(seconds=n)
    span: dict[str, object] = {
        "span_id": id_,
        "name": f"{kind.lower()}-{n % 7}",
        "kind": kind,
        "status": "OK",
        "started_at": start.isoformat(),
        "ended_at": (start + timedelta(milliseconds=random_.randrange(50, 900))).isoformat(),
        "metadata": {"step": n},
        "input": {"messages": [{"role": "user", "content": _text(random_, size)}]},
        "output": {"role": "assistant", "content": _text(random_, size)},
    }
    if parent is not None:
        span["parent_span_id"] = parent
    if kind == "LLM":
        prompt, completion = random_.randrange(100, 3_000), random_.randrange(10, 600)
        span |= {
            "model": "gpt-4o",
            "completion_start_time": (start + timedelta(milliseconds=40)).isoformat(),
            "model_parameters": {"temperature": 0.2, "max_tokens": 1024},
            "token_usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
            },
        }
    return span


def _id(random_: random.Random) -> str:
    return str(uuid.UUID(int=random_.getrandbits(128), version=4))


def _text(random_: random.Random, size: int) -> str:
    words: list[str] = []
    length = 0
    while length < size:
        word = random_.choice(WORDS)
        words.append(word)
        length += len(word) + 1
    return " ".join(words)
