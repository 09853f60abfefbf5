"""Counts in texts for people."""


def counted(count: int, noun: str, nouns: str = "") -> str:
    """The count with its noun, as `noun_of` gives it: "1 trace", "1,200 traces"."""
    return f"{count:,} {noun_of(count, noun, nouns)}"


def noun_of(count: int, noun: str, nouns: str = "") -> str:
    """`noun` for one thing, else `nouns`, by default `noun` with an s."""
    return noun if count == 1 else nouns or f"{noun}s"
