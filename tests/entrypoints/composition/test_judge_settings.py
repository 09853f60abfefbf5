"""Settings of judges: which providers are available."""

import asyncio
from dataclasses import replace

import pytest

from domain.evaluation.judging.judge import JudgeRefused
from domain.evaluation.metrics.judged_metrics import TASK_COMPLETION
from domain.evaluation.scores.outcome import FailCode
from entrypoints.cli.doctor import Level, check_judge
from entrypoints.composition.evaluation import judge_models, judge_providers, open_judge
from entrypoints.setting_checks import model_problems
from entrypoints.settings import Settings, SettingsError, read_settings
from tests.contracts.evaluation.judging.test_judge import scripted
from tests.support.fakes.model_provider import COMPATIBLE, provider

KEYS = {
    "OPENAI_API_KEY": "openai",
    "ANTHROPIC_API_KEY": "anthropic",
    "GEMINI_API_KEY": "google_genai",
    "GOOGLE_CLOUD_PROJECT": "vertex_ai",
}


def available(environ: dict[str, str]) -> set[str]:
    states = judge_providers(read_settings(environ))
    return {one.provider.key for one in states if one.is_available}


def test_only_heuristic_judge_is_available_without_keys() -> None:
    assert available({}) == {"heuristic"}


@pytest.mark.parametrize("prefix", ["", "PANDAPROBE_"])
@pytest.mark.parametrize("name", KEYS)
def test_key_makes_its_provider_available(prefix: str, name: str) -> None:
    assert available({prefix + name: "k"}) == {"heuristic", KEYS[name]}


def test_endpoint_needs_url_and_no_key() -> None:
    assert available({"PANDAPROBE_OPENAI_COMPATIBLE_API_KEY": "k"}) == {"heuristic"}
    environ = {"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": "http://localhost:11434/v1"}
    assert available(environ) == {"heuristic", "openai_compatible"}
    assert available({"OPENAI_COMPATIBLE_BASE_URL": "http://localhost"}) == {"heuristic"}


def test_message_names_missing_setting() -> None:
    messages = {one.provider.key: one.message for one in judge_providers(Settings())}
    assert messages["heuristic"] == "Ready"
    assert messages["openai"] == "PANDAPROBE_OPENAI_API_KEY or OPENAI_API_KEY must be set"
    assert messages["openai_compatible"] == "PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL must be set"


def test_vertex_note_says_credentials_are_not_checked() -> None:
    states = {one.provider.key: one for one in judge_providers(Settings(google_cloud_project="p"))}
    assert states["vertex_ai"].is_available
    assert "not checked" in states["vertex_ai"].message


@pytest.mark.parametrize("name", [name for name in KEYS if name.endswith("KEY")])
def test_prefixed_variable_wins_and_keys_are_not_shown(name: str) -> None:
    settings = read_settings({name: "hidden-1", f"PANDAPROBE_{name}": "hidden-2"})
    assert getattr(settings, name.lower()) == "hidden-2"
    assert getattr(read_settings({name: "a", f"PANDAPROBE_{name}": " "}), name.lower()) == "a"
    assert "hidden" not in f"{settings!r} {judge_providers(settings)}"


@pytest.mark.parametrize("prefix", ["", "PANDAPROBE_"])
def test_invalid_key_is_refused_and_not_shown(prefix: str) -> None:
    with pytest.raises(SettingsError, match=f"^{prefix}OPENAI_API_KEY must be a key") as error:
        read_settings({f"{prefix}OPENAI_API_KEY": "hidden hidden"})
    assert "hidden" not in str(error.value)


def test_models_come_from_settings() -> None:
    environ = {"EVAL_LLM_MODEL": "gpt-5", "EVAL_ALLOWED_MODELS": "gpt-5, claude-x"}
    models = judge_models(read_settings({f"PANDAPROBE_{k}": v for k, v in environ.items()}))
    assert models.default == "openai/gpt-5"
    assert models.select("claude-x") == "anthropic/claude-x"
    assert judge_models(Settings()).default == "heuristic/1"


@pytest.mark.parametrize(
    ("environ", "default"),
    [
        ({}, "heuristic/1"),
        ({"GEMINI_API_KEY": "k"}, "gemini/gemini-3.5-flash-lite"),
        ({"GEMINI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "anthropic/claude-haiku-4-5"),
        ({"ANTHROPIC_API_KEY": "k", "PANDAPROBE_OPENAI_API_KEY": "k"}, "openai/gpt-5-mini"),
        ({"GOOGLE_CLOUD_PROJECT": "p"}, "vertex_ai/gemini-3.5-flash-lite"),
        ({"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": "http://localhost:1/v1"}, "heuristic/1"),
        ({"OPENAI_API_KEY": "k", "PANDAPROBE_EVAL_LLM_MODEL": "heuristic/1"}, "heuristic/1"),
    ],
)
def test_default_model_is_the_small_one_of_the_first_available_provider(
    environ: dict[str, str], default: str
) -> None:
    assert judge_models(read_settings(environ)).default == default


@pytest.mark.parametrize(
    ("name", "models"),
    [("EVAL_LLM_MODEL", "opnai/gpt-5"), ("EVAL_ALLOWED_MODELS", "gpt-5, opnai/gpt-5")],
)
def test_model_of_an_unknown_provider_stops_the_start(name: str, models: str) -> None:
    said = rf"PANDAPROBE_{name}: 'opnai/gpt-5' must be <provider>/<model>, beginning with one of:"
    with pytest.raises(SettingsError, match=said):
        read_settings({f"PANDAPROBE_{name}": models}, model_problems)


@pytest.mark.parametrize(
    ("environ", "level", "said"),
    [
        ({}, Level.OK, "heuristic/1"),
        ({"OPENAI_API_KEY": "k", "PANDAPROBE_EVAL_LLM_MODEL": "gpt-5"}, Level.OK, "openai/gpt-5"),
        (
            {"PANDAPROBE_EVAL_LLM_MODEL": "gpt-5"},
            Level.FAIL,
            "openai/gpt-5 can't be asked: PANDAPROBE_OPENAI_API_KEY or OPENAI_API_KEY must be set",
        ),
    ],
)
def test_doctor_says_whether_the_default_model_can_be_asked(
    environ: dict[str, str], level: Level, said: str
) -> None:
    found = check_judge(read_settings(environ, model_problems))
    assert (found.level, said in str(found)) == (level, True)


EVERY = {
    **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "k"),
    "GOOGLE_CLOUD_PROJECT": "p",
    "PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": "http://localhost:1/v1",
}


@pytest.mark.parametrize("environ", [{}, EVERY, *({name: EVERY[name]} for name in EVERY)])
async def test_only_available_providers_judge(environ: dict[str, str]) -> None:
    settings = read_settings(environ)
    async with open_judge(settings) as judge:
        for state in judge_providers(settings):
            name = f"{state.provider.prefix}1"
            if state.is_available:
                assert judge.fingerprint(TASK_COMPLETION, name)
                continue
            with pytest.raises(JudgeRefused) as refused:
                judge.fingerprint(TASK_COMPLETION, name)
            assert refused.value.code is FailCode.MISCONFIGURED


async def test_configured_base_url_is_used() -> None:
    prints = set()
    for url in ("", "http://proxy/v1"):
        environ = {"OPENAI_API_KEY": "k", "PANDAPROBE_OPENAI_BASE_URL": url}
        async with open_judge(read_settings(environ)) as judge:
            prints.add(judge.fingerprint(TASK_COMPLETION, "openai/1"))
    assert len(prints) == 2


async def test_closing_ports_closes_connections() -> None:
    async with provider(COMPATIBLE) as server:
        environ = {"PANDAPROBE_OPENAI_COMPATIBLE_BASE_URL": f"{server.url}/v1"}
        async with open_judge(read_settings(environ)) as judge:
            question = replace(scripted().question(), model=server.model)
            await asyncio.gather(*(judge.ask(question) for _ in range(3)))
            assert server.connections > 0
        await server.all_disconnected.wait()
        assert server.connections == 0
