"""Contract of Embedder: one vector per text, in order, all of one length."""

import math
import os
import subprocess
import sys

import pytest

from adapters.hash_embedder import THREAD_MIN_CHARACTERS, HashEmbedder
from adapters.memory.evaluation.scripted_judge import ScriptedEmbedder
from application.evaluation.ports.judging import EMBEDDED_MAX, Embedder
from domain.evaluation.judging.judge import JudgeRefused, JudgeUnavailable
from domain.evaluation.scores.outcome import FailCode
from domain.evaluation.trace_content.text import cosine

FLIGHT = "Cancel my flight to Paris on Monday"
SAME_TOPIC = "Your flight to Paris on Monday is cancelled"
OTHER_TOPIC = "The weather is nice and warm"


@pytest.fixture(params=[HashEmbedder, ScriptedEmbedder])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return request.param()


async def test_vectors_follow_order_of_texts(embedder: Embedder):
    texts = [FLIGHT, "", OTHER_TOPIC, FLIGHT]
    vectors = await embedder.embed(texts)
    assert [list(v) for v in vectors] == [list((await embedder.embed([t]))[0]) for t in texts]
    assert len({len(vector) for vector in vectors}) == 1


async def test_texts_of_one_topic_are_closer(embedder: Embedder):
    flight, same, other = await embedder.embed([FLIGHT, SAME_TOPIC, OTHER_TOPIC])
    assert cosine(flight, same) > cosine(flight, other) + 0.3


@pytest.mark.parametrize("text", ["", " ", "…", "\n\t"], ids=ascii)
async def test_text_without_words_embeds_as_zero_vector(embedder: Embedder, text: str):
    [vector] = await embedder.embed([text])
    assert not any(vector)


async def test_empty_list_of_texts_gives_no_vectors(embedder: Embedder):
    assert list(await embedder.embed([])) == []


async def test_call_accepts_embedded_max_texts(embedder: Embedder):
    vectors = await embedder.embed([f"text {n}" for n in range(EMBEDDED_MAX)])
    assert len(vectors) == EMBEDDED_MAX


async def test_more_than_embedded_max_texts_raise_value_error():
    with pytest.raises(ValueError):
        await HashEmbedder().embed(["a"] * (EMBEDDED_MAX + 1))


async def test_long_text_embedded_in_thread_has_same_vector():
    long, short = "flight to Oslo " * THREAD_MIN_CHARACTERS, "flight to Oslo"
    vector, _ = await HashEmbedder().embed([long, short])
    assert math.sumprod(vector, vector) == pytest.approx(1.0)
    assert list(vector) == list((await HashEmbedder().embed([long]))[0])


SCRIPT = """
import asyncio, hashlib
from adapters.hash_embedder import HashEmbedder
[vector] = asyncio.run(HashEmbedder().embed(["Cancel my flight to Paris on Monday, 取消"]))
print(hash("salted"), hashlib.sha256(repr(list(vector)).encode()).hexdigest())
"""


def test_vector_is_same_in_every_process():
    """Python's own hash has a different salt in each."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    assert outputs[0][0] != outputs[1][0], "the salt made no difference"
    assert outputs[0][1] == outputs[1][1]


async def test_scripted_embedder_fails_by_script():
    refused = JudgeRefused(FailCode.AUTH)
    embedder = ScriptedEmbedder(script=[JudgeUnavailable(FailCode.RATE_LIMITED), None, refused])
    with pytest.raises(JudgeUnavailable):
        await embedder.embed(["a"])
    assert len(await embedder.embed(["a"])) == 1
    with pytest.raises(JudgeRefused):
        await embedder.embed(["a"])
