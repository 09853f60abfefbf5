"""Tokens: the vectors of the contract, each key, and properties of all figures."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tracing.usage import TOKENS_MAX, Usage
from tests.support.builders.otel import flags, mapped, value

VECTORS = json.loads((Path(__file__).parent / "tokens.json").read_text())["vectors"]


def usage_of(attributes):
    one = mapped(attributes).span
    if one.usage is None:
        return None
    read = Usage.from_token_usage(one.token_usage)
    assert (read.prompt_tokens, read.completion_tokens) == (
        one.usage.prompt_tokens,
        one.usage.completion_tokens,
    )
    return one.usage.prompt_tokens, one.usage.completion_tokens


@pytest.mark.parametrize("vector", VECTORS, ids=[one["name"] for one in VECTORS])
@pytest.mark.parametrize("form", ["as sent", "numbers as text", "JSON as structure"])
def test_vector(vector, form):
    attributes = dict(vector["attributes"])
    if form == "numbers as text":
        attributes = {
            key: str(one) if isinstance(one, int) else one for key, one in attributes.items()
        }
    elif form == "JSON as structure":
        attributes = {
            key: json.loads(one) if isinstance(one, str) and one.startswith("{") else one
            for key, one in attributes.items()
        }
    expected = None if vector["input"] is None else (vector["input"], vector["output"])
    assert usage_of(attributes) == expected
    assert flags(mapped(attributes)) == vector["flags"]


U = "gen_ai.usage."
BUCKETS = {
    "prompt_tokens": [
        f"{U}input_tokens",
        f"{U}prompt_tokens",
        "llm.token_count.prompt",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
        "ai.usage.tokens",
    ],
    "cache_read_tokens": [
        f"{U}cache_read.input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
        f"{U}cache_read_input_tokens",
        f"{U}cache_read_tokens",
        f"{U}input_cached_tokens",
    ],
    "cache_write_tokens": [
        f"{U}cache_write.input_tokens",
        f"{U}cache_creation.input_tokens",
        "llm.token_count.prompt_details.cache_write",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
        f"{U}cache_write_input_tokens",
        f"{U}cache_creation_input_tokens",
        f"{U}cache_write_tokens",
    ],
    "completion_tokens": [
        f"{U}output_tokens",
        f"{U}completion_tokens",
        "llm.token_count.completion",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ],
    "reasoning_tokens": [
        f"{U}reasoning.output_tokens",
        f"{U}details.reasoning_tokens",
        "llm.token_count.completion_details.reasoning",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
        f"{U}reasoning_tokens",
    ],
    "audio_tokens": [
        f"{U}audio.input_tokens",
        f"{U}audio.output_tokens",
        "llm.token_count.prompt_details.audio",
        "llm.token_count.completion_details.audio",
    ],
}
KEYS = [(bucket, key) for bucket, keys in BUCKETS.items() for key in keys]
TOTALS = [
    f"{U}total_tokens", "llm.usage.total_tokens", "llm.token_count.total", "ai.usage.totalTokens"
]  # fmt: skip


@pytest.mark.parametrize(("bucket", "key"), KEYS)
def test_each_key_gives_its_bucket(bucket, key):
    totals = {f"{U}input_tokens": 900, f"{U}output_tokens": 900}
    is_part = bucket not in {"prompt_tokens", "completion_tokens"}
    found = value(mapped((totals if is_part else {}) | {key: 7}).span.token_usage)
    assert found[bucket] == 7


TARGETS = {
    "prompt_tokens": "input_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "completion_tokens": "output_tokens",
    "reasoning_tokens": "reasoning_tokens",
}
PAIRS = [
    (TARGETS[bucket], first, second)
    for bucket in TARGETS
    for first, second in pairwise(BUCKETS[bucket])
]


@pytest.mark.parametrize(("target", "first", "second"), PAIRS)
def test_of_two_keys_of_a_bucket_the_earlier_wins(target, first, second):
    assert mapped({second: 5, first: 7}).facts.won_keys[target] == first
    assert mapped({first: 7, second: 5}).facts.won_keys[target] == first


@pytest.mark.parametrize("key", TOTALS)
def test_stated_total_decides_whether_reasoning_is_contained(key):
    sent = {f"{U}input_tokens": 50, f"{U}output_tokens": 50, f"{U}reasoning_tokens": 30}
    assert usage_of(sent | {key: 130}) == (50, 80)
    assert usage_of(sent | {key: 100}) == (50, 50)
    assert "usage_assumed" in flags(mapped(sent))


def test_a_part_may_be_all_of_its_total():
    sent = {f"{U}input_tokens": 50, f"{U}output_tokens": 30}
    parts = {f"{U}cache_read.input_tokens": 50, f"{U}reasoning.output_tokens": 30}
    assert usage_of(sent | parts) == (50, 30)


def test_stated_total_that_is_no_sum_leaves_the_cache_in_the_input():
    sent = {f"{U}input_tokens": 50, f"{U}output_tokens": 30, f"{U}cache_read_tokens": 20}
    claude = sent | {"gen_ai.request.model": "claude-opus-4-1"}
    assert usage_of(claude) == (70, 30)
    assert usage_of(claude | {f"{U}total_tokens": 7}) == (50, 30)


def test_total_alone_gives_no_count_of_either_side():
    one = mapped({f"{U}total_tokens": 12}).span
    assert one.usage is None
    assert value(one.token_usage) == {"total_tokens": 12}


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (12, 12), ("12", 12), (12.0, 12), ("12.0", 12), (0, 0), (TOKENS_MAX - 1, TOKENS_MAX - 1),
        (-1, None), (1.5, None), ("1.5", None), ("NaN", None), (TOKENS_MAX, None), (True, None),
        ("many", None), ([1], None), ({"a": 1}, None), ("9" * 400, None), ("-0.5", None),
        ("Infinity", None),
    ],
)  # fmt: skip
def test_only_whole_numbers_are_counts(sent, count):
    one = mapped({f"{U}input_tokens": sent})
    assert usage_of({f"{U}input_tokens": sent}) == (None if count is None else (count, 0))
    assert ("coerced" in flags(one)) == (count is None)


def test_unusable_count_leaves_next_key():
    sent = {f"{U}input_tokens": "many", f"{U}prompt_tokens": 7}
    assert usage_of(sent) == (7, 0)
    assert "coerced" in flags(mapped(sent))


def test_claude_code_counts_what_was_not_cached_apart():
    sent = {
        "input_tokens": 5,
        "cache_read_tokens": 128_955,
        "cache_creation_tokens": 1_253,
        "output_tokens": 393,
    }
    assert usage_of(sent) == (130_213, 393)
    assert usage_of({**sent, "input_tokens": 200_000}) == (330_208, 393)
    assert usage_of(sent | {f"{U}input_tokens": 7}) == (7, 0)


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [
        (
            "langfuse.observation.usage_details",
            {"input": 10, "input_cached_tokens": 4, "output": 7, "output_reasoning_tokens": 3},
            {"prompt_tokens": 14, "completion_tokens": 10, "cache_read_tokens": 4,
             "reasoning_tokens": 3},
        ),
        (
            "langfuse.observation.usage_details",
            {"input": 10, "cache_creation_input_tokens": 4, "output": 7, "total": 99},
            {"prompt_tokens": 14, "completion_tokens": 7, "cache_write_tokens": 4},
        ),
        (
            "langfuse.observation.usage_details",
            {"input_tokens": 10, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 4}},
            {"prompt_tokens": 10, "completion_tokens": 7, "cache_read_tokens": 4},
        ),
        (
            "langsmith.metadata.usage_metadata",
            {"input_tokens": 10, "output_tokens": 7, "input_token_details": {"cache_creation": 4},
             "output_token_details": {"reasoning": 2, "audio": 1}},
            {"prompt_tokens": 10, "completion_tokens": 7, "cache_write_tokens": 4,
             "reasoning_tokens": 2, "audio_tokens": 1},
        ),
        (
            "mlflow.chat.tokenUsage",
            {"input_tokens": 3, "output_tokens": 7, "cache_read_input_tokens": 4},
            {"prompt_tokens": 7, "completion_tokens": 7, "cache_read_tokens": 4},
        ),
    ],
)  # fmt: skip
def test_usage_as_json(key, sent, expected):
    expected = {
        **expected,
        "total_tokens": expected["prompt_tokens"] + expected["completion_tokens"],
    }
    assert value(mapped({key: json.dumps(sent)}).span.token_usage) == expected
    assert value(mapped({key: sent}).span.token_usage) == expected


def test_json_of_langsmith_comes_before_the_attributes_and_that_of_mlflow_after_them():
    attributes = {f"{U}input_tokens": 1, f"{U}output_tokens": 2}
    usage = '{"input_tokens": 10, "output_tokens": 20}'
    assert usage_of(attributes | {"langsmith.metadata.usage_metadata": usage}) == (10, 20)
    assert usage_of(attributes | {"mlflow.chat.tokenUsage": usage}) == (1, 2)


def test_usage_that_litellm_prints_has_the_parts_of_its_attributes():
    sent = {f"{U}input_tokens": 500, f"{U}output_tokens": 60, f"{U}total_tokens": 560}
    printed = {
        "completion_tokens": 60, "prompt_tokens": 500, "total_tokens": 560,
        "completion_tokens_details": {"reasoning_tokens": 20, "text_tokens": 40},
        "prompt_tokens_details": {"audio_tokens": None, "cache_write_tokens": 90,
                                  "cached_tokens": 400, "cache_creation_tokens": 90},
        "cache_creation_input_tokens": 90, "cache_read_input_tokens": 400, "service_tier": "x",
        "cost": 0.001,
    }  # fmt: skip
    known = {"prompt_tokens": 500, "completion_tokens": 60, "total_tokens": 560}
    parts = {"cache_read_tokens": 400, "cache_write_tokens": 90, "reasoning_tokens": 20}
    key = "metadata.usage_object"
    one = mapped(sent | {key: str(printed)}, scope="litellm")
    assert value(one.span.token_usage) == known | parts
    assert flags(one) == []
    for nothing in ("{}", "", "None", "{", "{'prompt_tokens'", "x" * 20_000, 7):
        one = mapped(sent | {key: nothing}, scope="litellm")
        assert value(one.span.token_usage) == known
    assert value(mapped(sent | {key: str(printed)}).span.token_usage) == known


def test_one_count_in_two_places_of_json_is_counted_once():
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 10,
        "cache_read_input_tokens": 600,
        "prompt_tokens_details": {"cached_tokens": 600},
    }
    found = value(mapped({"langfuse.observation.usage_details": usage}).span.token_usage)
    assert (found["prompt_tokens"], found["cache_read_tokens"]) == (1_000, 600)


def test_buckets_that_are_known_count_even_if_they_are_zero():
    sent = {f"{U}input_tokens": 1, f"{U}output_tokens": 0, f"{U}cache_read.input_tokens": 0}
    assert mapped(sent).facts.buckets == 3
    assert mapped({f"{U}total_tokens": 1}).facts.buckets == 0


ALL_KEYS = [key for keys in BUCKETS.values() for key in keys] + TOTALS
COUNTS = st.integers(0, 2_000) | st.integers(0, TOKENS_MAX)


@given(
    st.dictionaries(st.sampled_from(ALL_KEYS), COUNTS),
    st.sampled_from(["", "claude-4", "gemini-2"]),
)
def test_totals_are_never_below_a_part(attributes, model):
    one = mapped({**attributes, "gen_ai.request.model": model}).span
    if one.token_usage is None or one.usage is None:
        return
    found = value(one.token_usage)
    prompt, completion = found["prompt_tokens"], found["completion_tokens"]
    assert found["total_tokens"] == prompt + completion
    cached = found.get("cache_read_tokens", 0) + found.get("cache_write_tokens", 0)
    assert prompt == TOKENS_MAX - 1 or prompt >= cached
    assert completion >= found.get("reasoning_tokens", 0)
    assert 0 <= prompt < TOKENS_MAX
    assert 0 <= completion < TOKENS_MAX
    assert found.get("audio_tokens", 0) <= found["total_tokens"]
