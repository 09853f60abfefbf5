"""Embedders: so far the one that needs no model."""

import asyncio
from collections.abc import Sequence
from typing import Final

from application.evaluation.ports.evaluation import EMBEDDED_MAX
from domain.evaluation.metrics.similarity import HASH_EMBEDDER
from domain.evaluation.trace_content.text import Vector, hashed_vector

LONG: Final = 4_000  # characters of all texts: from here on they take ten milliseconds


class HashEmbedder:
    """Signed feature hashing: the same vectors in every process, at no cost."""

    @property
    def key(self) -> str:
        return HASH_EMBEDDER

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        if len(texts) > EMBEDDED_MAX:
            raise ValueError(f"{len(texts)} texts at once")
        if sum(map(len, texts)) < LONG:
            return [hashed_vector(text) for text in texts]
        # One text a step, so that whoever gives up waits for one at most.
        return [await asyncio.to_thread(hashed_vector, text) for text in texts]
