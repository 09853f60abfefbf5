"""A compact form of a user request, enough to detect that it is asked again."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Self

from domain.evaluation.trace_content.text import jaccard, ngrams, normalize_text, words

READ_MAX: Final = 100_000  # characters that are normalized; the rest is compared as it is
WORDS_CHARS_MAX: Final = 500  # longer texts may begin alike and ask something else
WORDS_MIN: Final = 3  # "yes" and "thank you" recur without a repeated request
SIMILARITY_MIN: Final = 0.7  # reached despite different spelling or word order

_DIGEST_BYTES: Final = 16
_NGRAM_CHARS: Final = 3


@dataclass(frozen=True, slots=True)
class UserRequest:
    """The digest and the words of a request.

    `digest` is equal for texts that differ only in case, width and whitespace. `words` are the
    words, separated by single spaces; empty if the text is too long for a similarity comparison.
    `is_question` tells whether the text is long enough for a repetition to be meaningful.
    """

    digest: bytes
    words: str
    is_question: bool

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """None if the text is blank."""
        if not text.strip():
            return None
        head, rest = text[:READ_MAX], text[READ_MAX:]
        same = f"{' '.join(normalize_text(head).split())}\n{rest}".encode(errors="replace")
        digest = blake2b(same, digest_size=_DIGEST_BYTES).digest()
        found = words(head)
        spaced = " ".join(found)
        return cls(
            digest, spaced if len(spaced) <= WORDS_CHARS_MAX else "", len(found) >= WORDS_MIN
        )

    @property
    def fingerprint(self) -> "RequestFingerprint":
        grams = ngrams(f" {self.words} ", _NGRAM_CHARS)
        numbers = [word for word in self.words.split() if any(map(str.isdigit, word))]
        return RequestFingerprint(frozenset(map("".join, grams)), frozenset(numbers))


@dataclass(frozen=True, slots=True)
class RequestFingerprint:
    """The features that similarity is computed from: character 3-grams, and words with a digit."""

    grams: frozenset[str]
    numbers: frozenset[str]

    def is_similar_to(self, other: "RequestFingerprint") -> bool:
        """Whether both ask the same. Different numbers mean different requests.

        Symmetric. A request without words is similar to none.
        """
        fewer, more = sorted((len(self.grams), len(other.grams)))
        if self.numbers != other.numbers or fewer < SIMILARITY_MIN * more:  # can't be close enough
            return False
        return jaccard(self.grams, other.grams) >= SIMILARITY_MIN
