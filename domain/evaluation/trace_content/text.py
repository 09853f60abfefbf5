"""Words of a text, and text similarity by shingles and by hashed vectors."""

import json
import math
import re
import unicodedata
from array import array
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final

EMBEDDED_HEAD_CHARS: Final = 5_300  # embedded from the beginning of a text
EMBEDDED_TAIL_CHARS: Final = 2_700  # and from its end, where answers summarize
DIMENSIONS: Final = 1_024
SHINGLE_WORDS: Final = 3

type Vector = Sequence[float]
type Shingle = tuple[str, ...]

# Scripts without spaces between words: every character counts as a word.
_ALONE: Final = (
    r"\u0e00-\u0e7f\u1100-\u11ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD: Final = re.compile(rf"(?=[^\W_])[{_ALONE}]|[^\W_{_ALONE}]+")

STOP_WORDS: Final = frozenset(
    (  # noqa: SIM905 - a list of words reads better as one text
        "the an and or but nor if then than as at by for from in into of off on onto out over to "
        "up with about after before between during through under until is am are was were be "
        "been being do does did has have had having will would shall should can could may might "
        "must it its he him his she her they them their we us our you your my me this that these "
        "those there here who whom which what when where how so such too very just also"
    ).split()
)
"""English function words, which any two answers share; without `no` and `not`."""


def to_text(value: object) -> str:
    """A JSON value as text: null is empty, a string is itself, anything else is compact JSON.

    Keys are sorted, since a store may not preserve their order.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def truncate_for_embedding(text: str) -> str:
    """The part of a text that is embedded: all of it, or its head and tail."""
    if len(text) <= EMBEDDED_HEAD_CHARS + EMBEDDED_TAIL_CHARS:
        return text
    return text[:EMBEDDED_HEAD_CHARS] + text[-EMBEDDED_TAIL_CHARS:]


def words(text: str) -> list[str]:
    """Runs of letters and digits, normalized; in scripts without spaces every character is a word.

    Idempotent: the words of a word are the word itself.
    """
    return _WORD.findall(normalize_text(text))


def normalize_text(text: str) -> str:
    """NFKC, then case folding, then NFKC again, since folding may leave NFKC. Idempotent."""
    once = unicodedata.normalize("NFKC", text).casefold()
    return unicodedata.normalize("NFKC", once)


def has_words(text: str) -> bool:
    """Whether the text contains a letter or digit."""
    return any(map(str.isalnum, text))


def content_words(text: str) -> frozenset[str]:
    """The words that carry content: no single ASCII characters, no English function words."""
    return frozenset(
        word
        for word in words(text)
        if (len(word) > 1 or not word.isascii()) and word not in STOP_WORDS
    )


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard index: shared elements / all elements. 0 for two empty sets."""
    shared = len(one & other)
    union = len(one) + len(other) - shared
    return shared / union if union else 0.0


def shingles(text: str) -> frozenset[Shingle]:
    """All runs of three words. A shorter text is one shingle; an empty text has none."""
    found = words(text)
    if len(found) < SHINGLE_WORDS:
        return frozenset([tuple(found)] if found else [])
    return frozenset(ngrams(found, SHINGLE_WORDS))


def ngrams(items: Sequence[str], size: int) -> Iterable[tuple[str, ...]]:
    """All runs of `size` adjacent items, in order."""
    return zip(*(items[at:] for at in range(size)), strict=False)


def containment(own: frozenset[Shingle], other: frozenset[Shingle]) -> float:
    """|A ∩ B| / |A|: the share of A that is contained in B; 0 if A is empty."""
    return len(own & other) / len(own) if own else 0.0


type SimilarityFunction = Callable[[str, str], float]
"""The similarity of two texts, from 0 to 1."""


def shingle_similarity(own: str, other: str) -> float:
    """The share of the shingles of `own` that occur in `other`."""
    return containment(shingles(own), shingles(other))


def longest_common_subsequence(matches: Sequence[Sequence[bool]]) -> int:
    """The length of the longest common subsequence, given which items of both match each other."""
    above = [0] * (len(matches[0]) + 1) if matches else [0]
    for row in matches:
        here = [0]
        for at, is_match in enumerate(row):
            here.append(above[at] + 1 if is_match else max(above[at + 1], here[at]))
        above = here
    return above[-1]


# --- vectors ---------------------------------------------------------------------------------


def cosine(one: Vector, other: Vector) -> float:
    """The cosine of two vectors of the same length; 0 if one of them is zero."""
    norms = math.sqrt(math.sumprod(one, one) * math.sumprod(other, other))
    return math.sumprod(one, other) / norms if norms else 0.0


def hashed_vector(text: str) -> Vector:
    """A text as a unit vector of DIMENSIONS numbers, by signed feature hashing, without a model.

    Features are the character 3-, 4- and 5-grams and the pairs of adjacent words. Each is added
    with a hashed sign at a hashed index (Weinberger et al. 2009). Python's `hash` isn't used,
    because it is salted per process. A text without words gives the zero vector.
    """
    found = words(text)
    vector = array("d", bytes(8 * DIMENSIONS))
    if not found:
        return vector
    spaced = f" {' '.join(found)} "
    for feature in _features(spaced, found):
        digest = blake2b(feature.encode(), digest_size=8).digest()
        vector[(digest[0] | digest[1] << 8) % DIMENSIONS] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(math.sumprod(vector, vector))
    return array("d", [value / length for value in vector]) if length else vector


def _features(spaced: str, found: Sequence[str]) -> Iterable[str]:
    for size in (3, 4, 5):
        for at in range(len(spaced) - size + 1):
            yield f"c{size}:{spaced[at : at + size]}"
    for one, next_one in pairwise(found):
        yield f"w2:{one} {next_one}"
