"""Who may judge, by the environment."""

import pytest

from entrypoints.judges import judge_models, judge_providers
from entrypoints.settings import Settings, SettingsError, read_settings

KEYS = {
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "GEMINI_API_KEY": "google_genai",
    "GOOGLE_CLOUD_PROJECT": "vertex_ai",
}


def available(environ: dict[str, str]) -> set[str]:
    states = judge_providers(read_settings(environ))
    return {one.provider.key for one in states if one.is_available}


def test_without_a_key_the_heuristics_are_left() -> None:
    assert available({}) == {"heuristic"}


@pytest.mark.parametrize("prefix", ["", "PANDAPROBE_"])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_makes_its_provider_available(prefix: str, name: str) -> None:
    assert available({prefix + name: "k"}) == {"heuristic", KEYS[name]}


def test_an_endpoint_needs_an_address_and_no_key() -> None:
    assert available({"PANDAPROBE_OPENAI_COMPATIBLE_API_KEY": "k"}) == {"heuristic"}
    given = {"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": "http://localhost:11434/v1"}
    assert available(given) == {"heuristic", "openai_compatible"}
    assert available({"OPENAI_COMPATIBLE_BASE_URL": "http://localhost"}) == {"heuristic"}


def test_a_message_names_what_is_missing() -> None:
    told = {one.provider.key: one.message for one in judge_providers(Settings())}
    assert told["heuristic"] == "Ready"
    assert told["openai"] == "PANDAPROBE_OPENAI_API_KEY or OPENAI_API_KEY must be set"
    assert told["openai_compatible"] == "PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL must be set"


def test_of_vertex_it_is_told_that_credentials_are_not_checked() -> None:
    told = {one.provider.key: one for one in judge_providers(Settings(google_cloud_project="p"))}
    assert told["vertex_ai"].is_available
    assert "not checked" in told["vertex_ai"].message


@pytest.mark.parametrize("name", [name for name in KEYS if name.endswith("KEY")])
def test_the_own_variable_counts_before_the_other_and_neither_is_shown(name: str) -> None:
    settings = read_settings({name: "hidden-1", f"PANDAPROBE_{name}": "hidden-2"})
    assert getattr(settings, name.lower()) == "hidden-2"
    assert getattr(read_settings({name: "a", f"PANDAPROBE_{name}": " "}), name.lower()) == "a"
    assert "hidden" not in f"{settings!r} {judge_providers(settings)}"


@pytest.mark.parametrize("prefix", ["", "PANDAPROBE_"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"^{prefix}OPENAI_API_KEY must be a key") as told:
        read_settings({f"{prefix}OPENAI_API_KEY": "hidden hidden"})
    assert "hidden" not in str(told.value)


def test_models_are_those_of_the_settings() -> None:
    given = {"EVAL_LLM_MODEL": "gpt-5", "EVAL_ALLOWED_MODELS": "gpt-5, claude-x"}
    models = judge_models(read_settings({f"PANDAPROBE_{k}": v for k, v in given.items()}))
    assert models.default == "openai/gpt-5"
    assert models.chosen("claude-x") == "anthropic/claude-x"
    assert judge_models(Settings()).default == "heuristic/1"
