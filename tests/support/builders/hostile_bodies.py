"""Bodies that are as expensive as a request of their size can be, by the shape of the JSON."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from domain.tracing.payloads.payload import OBJECT_VALUES_MAX
from entrypoints.http.requests.json_body import LEVELS_MAX

TRACE_ID: Final = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d10"
LARGE_TRACE_ID: Final = "5b0e6f0a-8f1e-4c55-9a53-2f6f3a6f7d11"
START: Final = b'"name":"n","started_at":"2026-03-01T09:00:00Z"'
SPANS_MAX: Final = 5_000
BATCH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request whose body has about as many bytes as `body` is called with."""

    name: str
    body: Callable[[int], bytes]
    path: str = "/traces"
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


def filled(prefix: bytes, part: bytes, suffix: bytes, size: int) -> bytes:
    """`part` as often as it fits, between `prefix` and `suffix`."""
    return prefix + part * max(1, (size - len(prefix) - len(suffix)) // len(part)) + suffix


def trace(**members: bytes) -> bytes:
    said = b"".join(b',"%b":%b' % (name.encode(), value) for name, value in members.items())
    return b"{" + START + said + b"}"


def within(name: str, prefix: bytes, part: bytes, suffix: bytes) -> Callable[[int], bytes]:
    """A trace whose field `name` is filled."""
    return lambda size: trace(**{name: filled(prefix, part, suffix, size)})


def items(path: str, part: bytes, count_max: int | None = None) -> Callable[[int], bytes]:
    """`path`: the text before the list."""

    def body(size: int) -> bytes:
        count = max(1, size // (len(part) + 1))
        count = count if count_max is None else min(count, count_max)
        return path.encode() + b"[" + b",".join([part] * count) + b"]" + b"}" * path.count("{")

    return body


def members(count: int, value: str = "1") -> bytes:
    return ("{" + ",".join(f'"{n:06}":{value}' for n in range(count)) + "}").encode()


def in_span(name: str, prefix: bytes, part: bytes, suffix: bytes) -> Callable[[int], bytes]:
    fill = within(name, prefix, part, suffix)
    return lambda size: trace(spans=b"[" + fill(size) + b"]")


def members_of(name: str) -> Callable[[int], bytes]:
    return lambda size: trace(**{name: members(size // 11)})


def span_list(size: int, trace_id: str | None = None) -> bytes:
    """As many spans as allowed, each with what has to be computed for it."""
    held = members(max(1, min(size // SPANS_MAX // 11, OBJECT_VALUES_MAX)))
    span = trace(
        metadata=held, model=b'"gpt-4o"', cost=b'{"a":0.1,"b":0.2}',
        token_usage=b'{"prompt_tokens":12,"completion_tokens":5}', ended_at=b'"2026-03-01"',
    )  # fmt: skip
    given = {} if trace_id is None else {"trace_id": b'"%b"' % trace_id.encode()}
    spans = b",".join([span] * min(SPANS_MAX, size // len(span) + 1))
    return trace(**given, session_id=b'"s"', spans=b"[" + spans + b"]")


def batch_of(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """As many items as allowed, which share the size."""

    def body(size: int) -> bytes:
        item = make(size // BATCH_MAX)
        return b'{"traces":[' + b",".join([item] * BATCH_MAX) + b"]}"

    return body


def around_the_limit(size: int) -> bytes:
    """A value that no decoder reads, and many at the level from which on values are cut out."""
    up, down = b"[" * (LEVELS_MAX - 1), b"]" * (LEVELS_MAX - 1)
    deep = b"[" * 400_000 + b"]" * 400_000
    return trace(input=filled(up + deep, b",{}", down, size))


def batch_of_two(size: int) -> bytes:
    return b'{"traces":[' + b",".join([span_list(size // 2)] * 2) + b"]}"


def gzipped(size: int) -> bytes:
    return gzip.compress(within("input", b'"', b"0", b'"')(size), 1)


GZIP: Final = {"content-encoding": "gzip"}
BATCH: Final = "/traces/batch"
SHAPES: Final = [
    Hostile("endless nesting in input", within("input", b"", b"[", b"")),
    Hostile("endless nesting in metadata", within("metadata", b'{"a":', b"[", b"}")),
    Hostile("nesting of objects", within("input", b"", b'{"a":', b"")),
    Hostile("nesting around the limit", around_the_limit),
    Hostile("nesting closed", lambda n: trace(input=b"[" * (n // 2) + b"]" * (n // 2))),
    Hostile(
        "many arrays, 400 levels",
        within("metadata", b'{"a":[', b"[" * 400 + b"]" * 400 + b",", b"0]}"),
    ),
    Hostile("many arrays in input", within("input", b"[", b"[" * 400 + b"]" * 400 + b",", b"0]")),
    Hostile("many pairs in input", within("input", b"[", b"[1,2],", b"0]")),
    Hostile(
        "many objects in input",
        within("input", b"[", b'{"":' * 99 + b"0" + b"}" * 99 + b",", b"0]"),
    ),
    Hostile("members of metadata", members_of("metadata")),
    Hostile("members of input", members_of("input")),
    Hostile("unknown members", lambda n: b"{" + START + b"," + members(n // 11)[1:]),
    Hostile("unknown members, no name", lambda n: members(n // 11)),
    Hostile("one key repeated", lambda n: filled(b"{", b'"name":"n",', START + b"}", n)),
    Hostile("one short key repeated", lambda n: filled(b"{", b'"name":1,', START + b"}", n)),
    Hostile(
        "one key of a span repeated",
        lambda n: trace(spans=b"[" + filled(b"{", b'"name":1,', START + b"}", n) + b"]"),
    ),
    Hostile("members of cost", lambda n: trace(spans=b"[" + trace(cost=members(n // 11)) + b"]")),
    Hostile(
        "members of token_usage",
        lambda n: trace(spans=b"[" + trace(token_usage=members(n // 11)) + b"]"),
    ),
    Hostile("short strings in input", within("input", b"[", b'"",', b"0]")),
    Hostile("short strings in metadata", within("metadata", b'{"a":[', b'"",', b"0]}")),
    Hostile("numbers in metadata", within("metadata", b'{"a":[', b"1,", b"0]}")),
    Hostile("empty arrays in metadata", within("metadata", b'{"a":[', b"[],", b"0]}")),
    Hostile("fractions in input", within("input", b"[", b"1.5e3,", b"0]")),
    Hostile("blanks", within("metadata", b"{", b" ", b"}")),
    Hostile("blanks between tokens", within("metadata", b'{"a":[', b"1 ,\n", b"0]}")),
    Hostile("escaped quotes in input", within("input", b'"', b'\\"', b'"')),
    Hostile("escaped quotes in metadata", within("metadata", b'{"a":"', b'\\"', b'"}')),
    Hostile("backslashes in metadata", within("metadata", b'{"a":"', b"\\\\", b'"}')),
    Hostile("commas in metadata", within("metadata", b'{"a":"', b",", b'"}')),
    Hostile("brackets in metadata", within("metadata", b'{"a":"', b"[", b'"}')),
    Hostile("escapes in metadata", within("metadata", b'{"a":"', b"\\u00e9", b'"}')),
    Hostile("NUL in input", within("input", b'"', b"\\u0000", b'"')),
    Hostile("NUL in metadata", within("metadata", b'{"a":"', b"\\u0000", b'"}')),
    Hostile("lone surrogates in input", within("input", b'"', b"\\ud800", b'"')),
    Hostile("lone surrogates in metadata", within("metadata", b'{"a":"', b"\\ud800", b'"}')),
    Hostile("lone surrogates in error", in_span("error", b'"', b"\\udc00x", b'"')),
    Hostile("lone surrogates in keys", within("metadata", b'{"', b"\\ud800", b'":1}')),
    Hostile("surrogate pairs in metadata", within("metadata", b'{"a":"', b"\\ud83d\\udc3c", b'"}')),
    Hostile("large string in input", within("input", b'"', b"x", b'"')),
    Hostile("large string in metadata", within("metadata", b'{"a":"', b"x", b'"}')),
    Hostile("large string in name", within("name", b'"', b"x", b'"')),
    Hostile("large string in error", in_span("error", b'"', b"x", b'"')),
    Hostile("large string in tags", within("tags", b'["', b"x", b'"]')),
    Hostile("text beyond ASCII", within("input", b'"', "é🐼".encode(), b'"')),
    Hostile("text beyond ASCII in metadata", within("metadata", b'{"a":"', "é🐼".encode(), b'"}')),
    Hostile("not UTF-8", within("input", b'"', b"\xff", b'"')),
    Hostile("not JSON", within("input", b"[", b"1,", b"")),
    Hostile("digits in input", within("input", b"", b"1", b"")),
    Hostile("digits in metadata", within("metadata", b'{"a":', b"1", b"}")),
    Hostile("digits in started_at", within("started_at", b"", b"1", b"")),
    Hostile("digits as text in ended_at", within("ended_at", b'"', b"1", b'"')),
    Hostile("digits in cost", in_span("cost", b'{"total":', b"1", b"}")),
    Hostile("digits as text in cost", in_span("cost", b'{"total":"', b"1", b'"}')),
    Hostile("digits in token_usage", in_span("token_usage", b'{"prompt_tokens":', b"1", b"}")),
    Hostile("fraction digits in cost", in_span("cost", b'{"total":0.', b"1", b"}")),
    Hostile("tags", within("tags", b"[", b'"t",', b'"t"]')),
    Hostile("spans", span_list),
    Hostile("spans, invalid", items("{" + START.decode() + ',"spans":', b'{"name":1}', SPANS_MAX)),
    Hostile("spans, too many", items("{" + START.decode() + ',"spans":', b"{%b}" % START)),
    Hostile("spans, one of them invalid", lambda n: span_list(n)[:-2] + b",{}]}"),
    Hostile(
        "spans to a trace",
        lambda n: b"[" + span_list(n).partition(b"[")[2][:-1],
        f"/traces/{TRACE_ID}/spans",
    ),
    Hostile("batch of traces", batch_of(lambda n: trace(metadata=members(n // 11))), BATCH),
    Hostile("batch of spans", batch_of(span_list), BATCH),
    Hostile("batch of two with many spans", batch_of_two, BATCH),
    Hostile(
        "batch of invalid traces",
        batch_of(lambda n: b'{"name":1,"metadata":%b}' % members(n // 11)),
        BATCH,
    ),
    Hostile("batch, too many items", items('{"traces":', b"{}"), BATCH),
    Hostile(
        "ids to delete", items('{"trace_ids":', b'"%b"' % TRACE_ID.encode()), BATCH + "/delete"
    ),
    Hostile(
        "tags to add",
        items('{"trace_ids":["' + TRACE_ID + '"],"add_tags":', b'"t"'),
        BATCH + "/tags",
    ),
    Hostile(
        "change of metadata",
        lambda n: b'{"metadata":%b}' % members(n // 11),
        f"/traces/{TRACE_ID}",
        "PATCH",
    ),
    Hostile(
        "change of input",
        lambda n: b'{"input":%b}' % members(n // 11),
        f"/traces/{TRACE_ID}",
        "PATCH",
    ),
    Hostile(
        "metadata of a score",
        lambda n: json.dumps(
            {
                "trace_id": TRACE_ID,
                "name": "s",
                "value": "1",
                "metadata": {f"{k:06}": 1 for k in range(n // 14)},
            }
        ).encode(),
        "/evaluations/trace-scores",
    ),
    Hostile(
        "reason of a score",
        lambda n: filled(
            b'{"trace_id":"%b","name":"s","value":"1","reason":"' % TRACE_ID.encode(),
            b"x",
            b'"}',
            n,
        ),
        "/evaluations/trace-scores",
    ),
    Hostile(
        "traces of a run",
        items('{"metrics":["trace_success"],"trace_ids":', b'"%b"' % TRACE_ID.encode()),
        "/evaluations/trace-runs/batch",
    ),
    Hostile("gzip bomb", gzipped, headers=GZIP),
]
