"""Marked tests against a service."""

import json

import pytest

from tests.clients.conftest import MARK, Pytest
from tests.http.experiments.conftest import CAPITALS, DATASET

pytestmark = pytest.mark.slow  # each test starts at least one process

RIGHT = f"""
{MARK})
def test_answer(case):
    case.result(answer(case.expected))
"""


async def test_every_case_gets_its_result(online: Pytest) -> None:
    await online.project.prepare()
    online.environ |= {"GITHUB_SHA": "9fceb02", "GITHUB_REF_NAME": "shorter"}
    online.write(f"""
{MARK}, repetitions=2)
def test_answer(case):
    assert case.repetition in (1, 2)
    case.result(answer(case.expected))
    assert case.item != "Peru", "a test that fails has a result too"
""")
    reported = await online("-vv")
    assert reported.status == 1, reported.output
    assert "test_agent.py::test_answer[France-2] PASSED" in reported.output
    assert "2 failed, 6 passed" in reported.output
    assert "test_agent.py::test_answer: 8 of 8 cases have a result" in reported.output
    [made, _] = await online.experiments()
    assert (made["name"], made["git"]["sha"]) == ("test_agent.py::test_answer", "9fceb02")
    assert (made["git"]["branch"], made["repetitions"]) == ("shorter", 2)
    done = await online.project.read(f"/experiments/{made['id']}")
    assert (done["closed_at"] is None, done["results"]) == (False, 8)


async def test_traces_may_name_their_cases(online: Pytest) -> None:
    await online.project.prepare()
    online.write(f"""
{MARK})
def test_answer(case):
    if case.item == "Peru":
        pytest.skip()
    answer(case.expected, metadata=case.metadata)
""")
    reported = await online()
    assert reported.status == 0, reported.output
    [made, _] = await online.experiments()
    assert await online.outputs(made["id"]) == {"France": 1, "Italy": 1, "Japan": 1, "Peru": 0}


async def test_workers_share_one_experiment(online: Pytest) -> None:
    await online.project.prepare()
    online.write(RIGHT)
    reported = await online("-n", "2", "-vv")
    assert reported.status == 0, reported.output
    assert {worker for worker in ("[gw0]", "[gw1]") if worker in reported.output} == {
        "[gw0]",
        "[gw1]",
    }
    [made, _] = await online.experiments()
    assert await online.outputs(made["id"]) == dict.fromkeys(CAPITALS, 1)


async def test_other_parameters_would_mix_results(online: Pytest) -> None:
    await online.project.prepare()
    tests = f"""
@pytest.mark.parametrize("temperature", VALUES)
{MARK})
def test_answer(case, temperature):
    case.result(answer(case.expected))
"""
    for values, status in (("[0]", 0), ("[0, 1]", 1)):
        online.write(f"VALUES = {values}\n{tests}")
        reported = await online()
        assert (reported.status, "are the same case" in reported.output) == (status, status == 1), (
            reported.output
        )


async def test_collecting_makes_no_experiment(online: Pytest) -> None:
    await online.project.prepare()
    online.write(RIGHT)
    reported = await online("--collect-only")
    assert "test_answer[Japan]" in reported.output
    assert (reported.status, len(await online.experiments())) == (0, 1)


async def test_gate_fails_the_session(online: Pytest) -> None:
    ids = await online.project.prepare_questions(20)
    base = await online.project.run({one: [one] for one in ids})
    rules = {"rules": [{"metric": "as_expected", "max_drop": 0.05}]}
    (online.folder / "gate.json").write_text(json.dumps(rules))
    options = ("--pandaprobe-base", base, "--pandaprobe-gate", "gate.json")
    online.write(RIGHT.replace("case.expected", "case.expected if case.item > 'q011' else '?'"))
    reported = await online(*options)
    assert reported.status == 1, reported.output
    assert "20 passed" in reported.output
    assert "gate: regressed" in reported.output
    assert "regressed: as_expected max_drop 0.05: -0.6 [" in reported.output
    assert "new failure: q000: as_expected 1 before, 0 now; trace " in reported.output
    online.write(RIGHT)
    reported = await online(*options)
    assert (reported.status, "gate: inconclusive" in reported.output) == (1, True), reported.output
    assert "would decide it" in reported.output
    reported = await online(*options, "--pandaprobe-allow-inconclusive")
    assert reported.status == 0, reported.output
    wide = 'rules = [{metric = "as_expected", max_drop = 0.9}]\n'
    (online.folder / "gate.toml").write_text(wide)
    setting = f"[pytest]\npandaprobe_gate = gate.toml\npandaprobe_base = {base}\n"
    (online.folder / "pytest.ini").write_text(setting)
    reported = await online()
    assert (reported.status, "gate: pass" in reported.output) == (0, True), reported.output
    for option, status in (("--collect-only", 0), ("-k=nothing", 5)):
        assert (await online(option)).status == status
    online.write(RIGHT + "\ndef test_plain(): ...\n")
    reported = await online("-k", "plain")
    assert (reported.status, "gate: no marked test ran" in reported.output) == (1, True), (
        reported.output
    )
    online.write(RIGHT)
    reported = await online("-k", "q001")
    assert (reported.status, "gate: incomplete" in reported.output) == (1, True), reported.output
    lacking = "no score of as_expected in 19 of 20 cases (no result in 19)"
    assert f"the candidate: {lacking}" in reported.output


async def test_experiments_with_other_metrics_are_named(online: Pytest) -> None:
    ids = await online.project.prepare_questions(5)
    said = {"metrics": ["task_completion"], "question": "Add 2 and 3"}
    base = await online.project.run({one: [one] for one in ids}, **said)
    (online.folder / "gate.toml").write_text("coverage = 0.9\n")
    online.write(RIGHT)
    reported = await online("--pandaprobe-base", base, "--pandaprobe-gate", "gate.toml")
    differs = "the set of metrics differs: task_completion and as_expected"
    assert f"not comparable: {differs}" in reported.output


async def test_each_test_has_a_baseline_of_its_own(online: Pytest) -> None:
    ids = await online.project.prepare_questions(20)
    both = RIGHT + RIGHT.replace("test_answer", "test_other")
    online.write(both)
    assert (await online()).status == 0
    bases = [one["id"] for one in await online.experiments()]
    assert len(bases) == 2
    wide = 'rules = [{metric = "as_expected", max_drop = 0.9}]\n'
    (online.folder / "gate.toml").write_text(wide)
    options = ["--pandaprobe-gate", "gate.toml"]
    each = [word for base in bases for word in ("--pandaprobe-base", base)]
    reported = await online(*options, *each)
    assert (reported.status, reported.output.count("gate: pass")) == (0, 2), reported.output
    other = await online.project.run({one: [one] for one in ids})
    reported = await online(*options, "--pandaprobe-base", other, "--pandaprobe-base", bases[0])
    assert (reported.status, reported.output.count("has no baseline, or several")) == (1, 1), (
        reported.output
    )


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (MARK.replace(DATASET, "nothing"), "404"),
        (MARK.replace('split="test"', 'split="nowhere"'), "has no items in the split nowhere"),
        pytest.param(f"{MARK}, repetitions=11", "must be 1 to 10", marks=pytest.mark.exhaustive),
        pytest.param(
            f"{MARK}, repetitions='2'",
            "the marker of test_agent.py::test_answer: ",
            marks=pytest.mark.exhaustive,
        ),
        (f"{MARK}, repeat=2", "must be pandaprobe(*, dataset, metrics,"),
    ],
)
async def test_wrong_marker(online: Pytest, mark: str, message: str) -> None:
    await online.project.prepare()
    online.write(f"\n{mark})\ndef test_answer(case): ...\n")
    reported = await online()
    assert (reported.status, message in reported.output) == (2, True), reported.output


async def test_unknown_metric_fails_the_tests(online: Pytest) -> None:
    await online.project.prepare()
    online.write(RIGHT.replace("as_expected", "nothing"))
    reported = await online()
    assert (reported.status, "4 errors" in reported.output) == (1, True), reported.output
    assert "POST /experiments: 422" in reported.output


async def test_fixture_and_marker_need_each_other(online: Pytest) -> None:
    online.write("\ndef test_answer(case): ...\n")
    reported = await online()
    assert (reported.status, "needs the marker pandaprobe" in reported.output) == (1, True), (
        reported.output
    )
    online.write(f"\n{MARK})\ndef test_answer(): ...\n")
    reported = await online()
    assert (reported.status, "has no argument `case`" in reported.output) == (2, True), (
        reported.output
    )


async def test_settings_may_have_blanks_around_them(online: Pytest) -> None:
    """And a proxy isn't asked for an address of this machine."""
    await online.project.prepare()
    online.environ |= {"http_proxy": "http://127.0.0.1:1"}
    online.environ["PANDAPROBE_API_KEY"] += "\n"
    online.write(f"""
{MARK})
def test_answer(case):
    case.result(uuid.uuid4())
""")
    reported = await online()
    assert reported.status == 0, reported.output


@pytest.mark.parametrize(
    ("name", "value"), [("API_KEY", "pp_se\ncret"), ("ENDPOINT", "http://[::cret")]
)
async def test_wrong_settings_are_named_without_the_key(
    online: Pytest, name: str, value: str
) -> None:
    online.environ[f"PANDAPROBE_{name}"] = value
    online.write(RIGHT)
    reported = await online()
    assert (reported.status, f"PANDAPROBE_{name} is invalid" in reported.output) == (4, True), (
        reported.output
    )
    assert "pp_se" not in reported.output


async def test_unreachable_service(online: Pytest) -> None:
    online.environ["PANDAPROBE_ENDPOINT"] = "http://127.0.0.1:1"
    online.write(RIGHT)
    reported = await online()
    assert (reported.status, "127.0.0.1:1 isn't reached" in reported.output) == (2, True), (
        reported.output
    )


async def test_gate_waits_while_the_service_is_away(offline: Pytest) -> None:
    offline.write("""
from pytest_pandaprobe.service import Service, ServiceError

class Restarting(httpx.BaseTransport):
    answers = [None, 503, 503, 503, 503, 503, 200]

    def handle_request(self, request):
        status = self.answers.pop(0)
        if status is None:
            raise httpx.ConnectError("away")
        return httpx.Response(status, headers={"Retry-After": "0"}, json={"status": "COMPLETED"})

def test_wait():
    client = httpx.Client(transport=Restarting(), base_url="http://service")
    assert Service(client, poll_s=0).wait("x", 60) == "COMPLETED"
    Restarting.answers = [None]
    with pytest.raises(ServiceError, match="isn't reached"):
        Service(client, poll_s=0).wait("x", 0)

def test_a_known_server_that_is_away_is_asked_again():
    client = httpx.Client(transport=Restarting(), base_url="http://service")
    service = Service(client, pause_s=0)
    Restarting.answers = [200, None, None, 503, 200]
    service.close("x")
    service.close("x")
    assert Restarting.answers == []
    Restarting.answers = [None] * 6
    with pytest.raises(ServiceError, match="isn't reached"):
        service.close("x")
    assert Restarting.answers == [None]
""")
    reported = await offline()
    assert (reported.status, "2 passed" in reported.output) == (0, True), reported.output


async def test_rejected_results_fail_the_session(online: Pytest) -> None:
    await online.project.prepare()
    online.write(f"""
SAME = []
{MARK})
def test_answer(case):
    SAME.append(answer(case.expected))
    case.result(SAME[0] if case.item in ("Italy", "Peru") else SAME[-1])
""")
    reported = await online()
    assert (reported.status, "4 passed" in reported.output) == (1, True), reported.output
    for item in ("Italy", "Peru"):
        why = f"rejected: {item}, repetition 1: trace_id is the result of another case"
        assert f"test_agent.py::test_answer: {why}" in reported.output
    [made, _] = await online.experiments()
    assert await online.outputs(made["id"]) == {"France": 1, "Italy": 0, "Japan": 1, "Peru": 0}
    assert made["closed_at"] is not None


async def test_results_are_kept_if_the_upload_fails(online: Pytest) -> None:
    """The process sends another key once its tests are over."""
    await online.project.prepare()
    online.write(
        RIGHT
        + """
@pytest.fixture(scope="session", autouse=True)
def lost(pytestconfig):
    yield
    for plugin in pytestconfig.pluginmanager.get_plugins():
        if hasattr(plugin, "run"):
            plugin.run.service.client.headers["X-API-Key"] = "lost"
"""
    )
    reported = await online()
    assert (reported.status, "4 passed" in reported.output) == (1, True), reported.output
    assert "GET /experiments/" in reported.output
    reported = await online("pandaprobe-results.json", module="pytest_pandaprobe")
    [made, _] = await online.experiments()
    assert (reported.status, made["id"] in reported.output) == (0, True), reported.output
    assert await online.outputs(made["id"]) == dict.fromkeys(CAPITALS, 1)


async def test_wrong_gate_is_refused_before_any_test(online: Pytest) -> None:
    (online.folder / "gate.toml").write_text("limit = 1\n")
    base = ("--pandaprobe-base", "77777777-7777-4777-8777-777777777771")
    for options, message in (
        (("--pandaprobe-gate", "gate.toml"), "needs --pandaprobe-base too"),
        (("--pandaprobe-gate", "gate.toml", *base), "may have only coverage, min_kappa, rules"),
        (("--pandaprobe-gate", "missing.toml", *base), "missing.toml"),
        (("--pandaprobe-base", ""), "isn't the id of an experiment"),
    ):
        reported = await online(*options)
        assert (reported.status, message in reported.output) == (4, True), reported.output
