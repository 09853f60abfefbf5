"""An embedder that needs no model."""

import asyncio
from collections.abc import Sequence
from typing import Final

from application.evaluation.ports.judging import EMBEDDED_MAX
from domain.evaluation.metrics.similarity import HASH_EMBEDDER
from domain.evaluation.trace_content.text import Vector, hashed_vector

THREAD_MIN_CHARACTERS: Final = 4_000  # of all texts; they take ten milliseconds or more


class HashEmbedder:
    """Signed feature hashing: the same vectors in every process, without a charge."""

    @property
    def key(self) -> str:
        return HASH_EMBEDDER

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        if len(texts) > EMBEDDED_MAX:
            raise ValueError(
                f"{len(texts)} texts; at most {EMBEDDED_MAX} can be embedded in one call"
            )
        if sum(map(len, texts)) < THREAD_MIN_CHARACTERS:
            return [hashed_vector(text) for text in texts]
        # One text per step, so that a cancelled caller waits for at most one text.
        return [await asyncio.to_thread(hashed_vector, text) for text in texts]
