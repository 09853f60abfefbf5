"""Names of judge models, and their providers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.judging.models import (
    PROVIDERS,
    JudgeModels,
    provider_of,
    resolve_model,
    validate_model,
)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt-5-mini", "openai/gpt-5-mini"),
        ("o1-mini", "openai/o1-mini"),
        ("o3-pro", "openai/o3-pro"),
        ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("gemini-3.5-flash", "gemini/gemini-3.5-flash"),
        *((one, one) for one in ("o3", "o4-mini", "gpt", "gpt-", "GPT-5", "my-gpt-5", "claude")),
        *((one, one) for one in ("openai/gpt-5", "vertex_ai/gemini-3", "else/gpt-5", "gpt-5/x")),
        *((one, one) for one in ("heuristic/1", "", "/", "gemini-/x")),
    ],
)
def test_well_known_names_get_their_provider(name: str, model: str) -> None:
    assert resolve_model(name) == model


@given(st.text(max_size=20) | st.sampled_from(["gpt-", "o1-", "claude-", "x"]).map(lambda a: a + a))
def test_resolving_is_idempotent(name: str) -> None:
    assert resolve_model(resolve_model(name)) == resolve_model(name)
    assert resolve_model(name).endswith(name)


@pytest.mark.parametrize("name", ["nope", "", "/", "gpt", "GPT-5", "else/gpt-5", "openai/", "/x"])
def test_models_of_unknown_providers_are_rejected(name: str) -> None:
    with pytest.raises(Invalid) as reported:
        validate_model(resolve_model(name))
    assert [one.field for one in reported.value.errors] == ["model"]
    assert "openai_compatible/" in reported.value.errors[0].message


@pytest.mark.parametrize(
    "name",
    [
        *("gemini/x:embedContent#", "gemini/x?alt=sse", "gemini/../files", "vertex_ai/a/../b"),
        *(
            "vertex_ai/%2e%2e/x",
            "gemini/a b",
            "gemini/a\nb",
            "gemini/é",
            "gemini/a\\b",
            "gpt-5&x=1",
        ),
    ],
)
def test_names_that_would_change_the_url_of_a_provider_are_rejected(name: str) -> None:
    with pytest.raises(Invalid) as reported:
        validate_model(resolve_model(name))
    assert [one.field for one in reported.value.errors] == ["model"]


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-5", "o4-mini", "claude-x", "openai_compatible/org/x", "vertex_ai/claude-3@20240620"),
        *("openai/ft:gpt-4o-mini:org::id", "openai_compatible/qwen2.5:7b-instruct-q4_K_M"),
    ],
)
def test_models_of_known_providers_are_accepted(name: str) -> None:
    assert validate_model(resolve_model(name)) == resolve_model(name)


def test_default_is_the_preferred_model_or_the_heuristics() -> None:
    assert JudgeModels().default == JudgeModels().select(None) == "heuristic/1"
    assert JudgeModels("gpt-5").default == JudgeModels("gpt-5").select(None) == "openai/gpt-5"


def test_without_allowed_list_any_model_is_accepted() -> None:
    assert JudgeModels().select("whatever") == "whatever"
    assert JudgeModels().select("gpt-5") == "openai/gpt-5"


@pytest.mark.parametrize("name", ["gpt-5", "openai/gpt-5", "claude-x", "heuristic/1", None])
def test_allowed_models_may_be_named_in_both_forms(name: str | None) -> None:
    models = JudgeModels(allowed=("openai/gpt-5", "claude-x"))
    assert models.select(name) == ("heuristic/1" if name is None else resolve_model(name))


@pytest.mark.parametrize("name", ["gpt-5-mini", "gpt", "claude-y", "openai/", "GPT-5"])
def test_disallowed_model_is_rejected_with_the_allowed_ones(name: str) -> None:
    with pytest.raises(Invalid) as reported:
        JudgeModels("o3-pro", allowed=("gpt-5", "claude-x")).select(name)
    [error] = reported.value.errors
    assert error.field == "model"
    assert error.message.endswith("openai/o3-pro, openai/gpt-5, anthropic/claude-x")


def test_providers_are_distinct() -> None:
    assert [one.key for one in PROVIDERS] == [
        *("openai", "anthropic", "google_genai", "vertex_ai", "openai_compatible", "heuristic")
    ]
    assert len({one.prefix for one in PROVIDERS}) == len(PROVIDERS)
    assert all(one.prefix.endswith("/") for one in PROVIDERS)


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("openai/gpt-5-mini", "openai"),
        ("openai_compatible/org/model", "openai_compatible"),
        ("o4-mini", "openai"),
        ("o3", "openai"),
        ("orca", ""),
        ("mystery", ""),
        ("/mystery", ""),
    ],
)
def test_provider_of_a_model(model: str, provider: str) -> None:
    assert provider_of(model) == provider


def test_models_that_cannot_be_asked_are_refused():
    models = JudgeModels(missing={"openai": "OPENAI_API_KEY must be set"})
    for model in ("heuristic/1", "anthropic/claude-haiku-4-5"):
        models.check_available(model)
    for model, said in (
        ("openai/gpt-5", "openai/gpt-5 can't be asked: OPENAI_API_KEY must be set"),
        ("o3-pro", "o3-pro can't be asked: OPENAI_API_KEY must be set"),
        ("bogus/x", "must be <provider>/<model>"),
        ("heuristic/2", "must be heuristic/1"),
    ):
        with pytest.raises(Invalid, match=f"^model: {said}"):
            models.check_available(model)
