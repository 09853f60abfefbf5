"""Hostile bodies at random: valid requests of every operation, and what breaks them.

A body is made of a random generator alone, so that its number and the seed make it again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

SMALL_MAX: Final = 4_096  # repetitions of most bodies
LARGE_MAX: Final = 400_000  # of one in LARGE_EVERY
LARGE_EVERY: Final = 250

ESCAPES: Final = (
    *(rb"\u0000", rb"\ud800", rb"\udc00", rb"\ud83d\ude00", rb"\"", rb"\\", rb"\/", rb"\n"),
    *(rb"\u00e9", rb"\u202e", b"\x7f"),
)
CHARACTERS: Final = (
    *("é".encode(), "🐼".encode(), "\u202e".encode(), "\u2028".encode(), "\ufeff".encode()),
    *("e\u0301".encode(), "\ufffe".encode()),
)
NO_CHARACTERS: Final = (
    *(rb"\x41", rb"\u12", b"\\", b"\x00", b"\x1f", b"\n"),
    *(b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x28"),
)
SCALARS: Final = (
    *(b"null", b"true", b"false", b"0", b"-0", b"1.5", b"1e400", b"-1e-400", b"9007199254740993"),
    *(b'""', b"[]", b"{}", b'"2026-02-30"', b'"9999-12-31T23:59:60Z"', b"253402300800", b"-1e18"),
)
NO_SCALARS: Final = (
    *(b"NaN", b"Infinity", b"-", b"01", b"1.", b".5", b"+1", b"0x1", b"1e", b"nul", b"'a'"),
)
WRONG: Final = 0.1  # the share of values that are no JSON
BLANKS: Final = (b" ", b"\n", b"\t", b"\r\n", b"\xc2\xa0", b"/**/", b"//\n", b",")


def count(random: Random) -> int:
    """A number of repetitions: small numbers are as frequent as large ones, by their digits."""
    most = LARGE_MAX if random.randrange(LARGE_EVERY) == 0 else SMALL_MAX
    return int(most ** random.random())


def nested(random: Random) -> bytes:
    opening, closing = random.choice([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
    levels = count(random)
    closed = levels
    if random.random() < WRONG:
        closed = random.choice([levels - 1, levels + 1, 0])
    return opening * levels + random.choice([b"", b"1", b'"x"']) + closing * max(0, closed)


def members(random: Random) -> bytes:
    name = random.choice([b'"%d"', b'"a%d"', b'"\\u00%02d"', b'"name"', b'"metadata"', b'"spans"'])
    value, number = scalar(random), count(random)
    names = [name % n if b"%" in name else name for n in range(number)]
    return b"{" + b",".join(one + b":" + value for one in names) + b"}"


def items(random: Random) -> bytes:
    value = random.choice([scalar, digits, string])(random)[:64]
    return b"[" + b",".join([value] * count(random)) + b"]"


def string(random: Random) -> bytes:
    parts = random.choice([ESCAPES, CHARACTERS, (*ESCAPES, *CHARACTERS), (b"x",), (b"[",), (b",",)])
    if random.random() < WRONG:
        parts = (*parts, *NO_CHARACTERS)
    if random.random() < 0.5:
        return b'"' + random.choice(parts) * count(random) + b'"'
    return b'"' + b"".join(random.choices(parts, k=min(count(random), 2_000))) + b'"'


def digits(random: Random) -> bytes:
    some = random.choice([b"1", b"9", b"10", b"12345678901234567890"]) * count(random)
    form = random.choice([b"%b", b"-%b", b"0.%b", b"1e%b", b"1e-%b", b'"%b"', b"%b.%b", b"0.0e%b"])
    return form.replace(b"%b", some)


def scalar(random: Random) -> bytes:
    return random.choice(NO_SCALARS if random.random() < WRONG else SCALARS)


VALUES: Final[Sequence[Callable[[Random], bytes]]] = (
    *(nested, members, items, string, digits, scalar),
)


def replaced(random: Random, body: Any) -> bytes:
    """The JSON of `body`, with one of its values replaced by a hostile one."""
    paths = list(_paths(body))
    path, value = random.choice(paths), random.choice(VALUES)(random)
    mark = "\x01MARK"
    text = json.dumps(_with_value(body, path, mark), ensure_ascii=random.random() < 0.5).encode()
    return text.replace(json.dumps(mark).encode(), value)


def _paths(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        body.items()
        if isinstance(body, dict)
        else enumerate(body)
        if isinstance(body, list)
        else ()
    )
    return [at, *(path for key, value in inner for path in _paths(value, (*at, key)))]


def _with_value(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = dict(body) if isinstance(body, dict) else list(body)
    changed[path[0]] = _with_value(changed[path[0]], path[1:], value)
    return changed


def with_members(random: Random, text: bytes) -> bytes:
    """More members at the beginning or the end of an object: unknown, known or repeated ones."""
    more = members(random)[1:-1]
    at = text.find(b"{") + 1 if random.random() < 0.5 else text.rfind(b"}")
    return text[:at] + (more + b"," if text[at - 1 : at] == b"{" else b"," + more) + text[at:]


def cut(random: Random, text: bytes) -> bytes:
    return text[: random.randrange(len(text) + 1)]


def damaged(random: Random, text: bytes) -> bytes:
    """A few bytes changed, removed or inserted."""
    changed = bytearray(text)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(changed) + 1)
        match random.randrange(3):
            case 0:
                changed[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del changed[at : at + random.randint(1, 8)]
            case _:
                changed[at:at] = random.choice([*SCALARS, *NO_SCALARS, *ESCAPES, *NO_CHARACTERS])
    return bytes(changed)


def spaced(random: Random, text: bytes) -> bytes:
    """Blanks, or what is none, between two tokens or anywhere."""
    at = random.choice([0, len(text), text.find(b":") + 1, random.randrange(len(text) + 1)])
    return text[:at] + random.choice(BLANKS) * count(random) + text[at:]


def recoded(random: Random, text: bytes) -> bytes:
    decoded = text.decode(errors="replace")
    return decoded.encode(
        random.choice(["utf-16", "utf-16-be", "utf-32", "utf-8-sig", "latin-1"]), "replace"
    )


def twice(random: Random, text: bytes) -> bytes:
    return text + random.choice([b"", b" ", b",", b"\n", b"\x00"]) + text


BREAKS: Final[Sequence[Callable[[Random, bytes], bytes]]] = (
    *(with_members, cut, damaged, damaged, spaced, recoded, twice),
)

REPLACED: Final = 0.8  # the share of bodies with a hostile value; the others are broken as text
BROKEN_TOO: Final = 0.1


@dataclass(frozen=True, slots=True)
class RandomBody:
    """A request of an operation, with the name of what was done to its body."""

    operation: str
    what: str
    data: bytes


def random_body(seed: int, number: int, templates: Mapping[str, Any]) -> RandomBody:
    """`templates` are valid bodies by operation."""
    random = Random(f"{seed} {number}")
    operation = random.choice(sorted(templates))
    done: list[str] = []
    if random.random() < REPLACED:
        data = replaced(random, templates[operation])
        done.append("replaced")
    else:
        data = json.dumps(templates[operation]).encode()
    while not done or random.random() < BROKEN_TOO:
        change = random.choice(BREAKS)
        data = change(random, data)
        done.append(change.__name__)
    return RandomBody(operation, "+".join(done), data)
