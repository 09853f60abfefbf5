"""What a user asked in a trace, kept short: enough to see whether it is asked again."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Self

from domain.evaluation.trace_content.text import jaccard, ngrams, normalize_text, words

READ_MAX: Final = 100_000  # characters that are normalized; what follows has to be equal as it is
KEPT_MAX: Final = 500  # characters of words: longer texts may begin alike and ask something else
WORDS_MIN: Final = 3  # "yes" and "thank you" are said again without anything being asked again
REPEATED_FROM: Final = 0.7  # closeness; with another spelling or order of words it is above

_DIGEST_BYTES: Final = 16
_GRAM: Final = 3  # characters


@dataclass(frozen=True, slots=True)
class UserRequest:
    """`digest` is equal for texts that differ in case, width and blanks alone.

    `words` are its words with single blanks between them; none of a text that is too long to tell
    closeness by. `is_question` where it is long enough for saying it again to mean anything.
    """

    digest: bytes
    words: str
    is_question: bool

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        """None where nothing was asked."""
        if not text.strip():
            return None
        head, rest = text[:READ_MAX], text[READ_MAX:]
        same = f"{' '.join(normalize_text(head).split())}\n{rest}".encode(errors="replace")
        digest = blake2b(same, digest_size=_DIGEST_BYTES).digest()
        found = words(head)
        spaced = " ".join(found)
        return cls(digest, spaced if len(spaced) <= KEPT_MAX else "", len(found) >= WORDS_MIN)

    @property
    def fingerprint(self) -> "RequestFingerprint":
        grams = ngrams(f" {self.words} ", _GRAM)
        numbers = [word for word in self.words.split() if any(map(str.isdigit, word))]
        return RequestFingerprint(frozenset(map("".join, grams)), frozenset(numbers))


@dataclass(frozen=True, slots=True)
class RequestFingerprint:
    """By what texts are compared: their character 3-grams, and the words that hold a digit."""

    grams: frozenset[str]
    numbers: frozenset[str]

    def is_similar_to(self, other: "RequestFingerprint") -> bool:
        """Whether one asks what the other does: what tells another number asks for something else.

        The same in both directions. What has no word is close to nothing.
        """
        fewer, more = sorted((len(self.grams), len(other.grams)))
        if self.numbers != other.numbers or fewer < REPEATED_FROM * more:  # can't be close enough
            return False
        return jaccard(self.grams, other.grams) >= REPEATED_FROM
