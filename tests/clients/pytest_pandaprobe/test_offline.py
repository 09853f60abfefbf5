"""Marked tests without a service, and the upload of their results."""

import json

import pytest

from tests.clients.conftest import MARK, Pytest
from tests.http.experiments.conftest import CAPITALS, DATASET, SPLIT

pytestmark = pytest.mark.slow  # each test starts at least one process

TESTS = f"""
{MARK}, repetitions=2)
def test_answer(case):
    assert (case.experiment, case.metadata) == (None, {{}})
    assert (case.input, case.expected) != (None, None)
    case.result(uuid.uuid4().hex)
"""
UPLOAD = {"module": "pytest_pandaprobe"}


def write_items(run: Pytest, **changed: str) -> None:
    folder = run.folder / "datasets"
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": country, "input": country, "expected": capital, "split": SPLIT}
        for country, capital in (CAPITALS | changed).items()
    ]
    rows.append({"id": "other", "input": "x\u2028y", "expected": None, "split": "train"})
    (folder / f"{DATASET}.ndjson").write_text(
        "\n".join(json.dumps(one, ensure_ascii=False) for one in rows)
    )


@pytest.mark.parametrize(
    "workers",
    # test_online.py has tests of several workers.
    [
        pytest.param([], id="alone"),
        pytest.param(["-n", "2"], id="xdist", marks=pytest.mark.exhaustive),
    ],
)
async def test_results_are_uploaded_later(online: Pytest, workers: list[str]) -> None:
    await online.project.prepare()
    write_items(online)
    online.write(TESTS)
    online.environ, service = {}, online.environ
    reported = await online(*workers)
    assert (reported.status, "8 passed" in reported.output) == (0, True), reported.output
    assert "offline: PANDAPROBE_ENDPOINT or PANDAPROBE_API_KEY isn't set" in reported.output
    assert "python -m pytest_pandaprobe " in reported.output
    assert len(await online.experiments()) == 1
    reported = await online("pandaprobe-results.json", **UPLOAD)
    assert (reported.status, "set PANDAPROBE_ENDPOINT" in reported.output) == (2, True)
    online.environ = service
    for _ in range(2):  # again: the same experiment
        reported = await online("pandaprobe-results.json", **UPLOAD)
        [made, _] = await online.experiments()
        assert reported.output == f"test_agent.py::test_answer: experiment {made['id']}\n"
    assert await online.outputs(made["id"]) == dict.fromkeys(CAPITALS, 2)
    assert made["closed_at"] is not None


async def test_other_items_are_not_uploaded(online: Pytest) -> None:
    await online.project.prepare()
    write_items(online, France="Lyon")
    online.write(TESTS)
    online.environ, service = {}, online.environ
    assert (await online()).status == 0
    online.environ = service
    reported = await online("pandaprobe-results.json", **UPLOAD)
    assert (reported.status, "aren't those" in reported.output) == (1, True), reported.output
    assert len(await online.experiments()) == 1


async def test_offline_session_gives_no_verdict(offline: Pytest) -> None:
    write_items(offline)
    offline.write(TESTS)
    reported = await offline("--pandaprobe-base", "77777777-7777-4777-8777-777777777771")
    assert (reported.status, "offline there is no verdict" in reported.output) == (1, True), (
        reported.output
    )


async def test_wrong_files(offline: Pytest) -> None:
    offline.write(TESTS)
    reported = await offline()
    assert (reported.status, f"{DATASET}.ndjson" in reported.output) == (2, True), reported.output
    (offline.folder / f"{DATASET}.ndjson").write_text('{"id": "a"}\n{\n')
    reported = await offline("--pandaprobe-items", ".")
    assert (reported.status, "ndjson, line 2: " in reported.output) == (2, True), reported.output
    (offline.folder / f"{DATASET}.ndjson").write_text('{"id": "a"}\n{"id": "a", "split": "test"}\n')
    reported = await offline("--pandaprobe-items", ".")
    assert (reported.status, "line 2: the id a is there twice" in reported.output) == (2, True), (
        reported.output
    )
    offline.environ = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:1", "PANDAPROBE_API_KEY": "x"}
    (offline.folder / "results.json").write_text("[]")
    reported = await offline("results.json", **UPLOAD)
    assert (reported.status, "has no results" in reported.output) == (1, True), reported.output


async def test_parts_of_the_plugin_alone(offline: Pytest) -> None:
    """In one process, since each takes a second to start."""
    offline.write(r"""
from pytest_pandaprobe.gate import FAILURES_SHOWN, find_base, lines_of
from pytest_pandaprobe.record import Plan, Recorded, digest_of, git_of, read_items
from pytest_pandaprobe.service import RESULTS_PER_REQUEST, Service, ServiceError

class Scripted(httpx.BaseTransport):
    def __init__(self, *answers):
        self.answers = [*answers]

    def handle_request(self, request):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json=answer)

def service_of(transport):
    return Service(httpx.Client(transport=transport, base_url="http://service"), pause_s=0)

def test_only_a_known_server_that_is_away_is_asked_again():
    for answers in ([httpx.ConnectError("away")], [{}, httpx.ReadTimeout("slow")]):
        service = service_of(Scripted(*answers))
        with pytest.raises(ServiceError, match="isn't reached"):
            for _ in answers:
                service.close("x")

def test_rejected_results_of_each_request_are_named():
    why = {"index": 0, "errors": [{"field": "trace_id", "message": "is unknown"}]}
    service = service_of(Scripted({"rejected": []}, {"rejected": [why]}))
    results = [{"item": str(n), "repetition": 1} for n in range(RESULTS_PER_REQUEST + 1)]
    reported = service.report("x", results)
    assert reported == [f"{RESULTS_PER_REQUEST}, repetition 1: trace_id is unknown"]

def test_closed_experiment_is_closed_again():
    transport = Scripted({"closed_at": "2026-03-01T09:00:00Z"}, {})
    recorded = Recorded(Plan(test="t", dataset="d", metrics=()), "x", {("a", 1): "trace"})
    assert recorded.upload(service_of(transport)) == []
    assert transport.answers == []

def test_branch_of_a_pull_request():
    environ = {"GITHUB_SHA": "1f", "GITHUB_REF_NAME": "7/merge"}
    assert git_of(environ | {"GITHUB_HEAD_REF": "topic"}) == {"sha": "1f", "branch": "topic"}
    assert git_of(environ) == {"sha": "1f", "branch": "7/merge"}

def test_items_of_a_file(tmp_path):
    file = tmp_path / "d.ndjson"
    lines = '{"id":"b","input":"x\u2028y"}', "", '{"id":"a","split":"s"}'
    file.write_text("\n".join(lines), encoding="utf-8")
    both = read_items(file, None)
    assert [one["id"] for one in both] == ["b", "a"]
    assert read_items(file, "s") == both[1:]
    assert digest_of(both) == digest_of(both[::-1]) != digest_of(both[1:])

def test_baseline_is_that_of_the_test_or_of_its_data():
    one = Recorded(Plan(test="t", dataset="d", metrics=(), split="s"), "x")
    ours, same, other = (
        {"id": id_, "name": name, "dataset": "d", "split": split}
        for id_, name, split in (("1", "t", "s"), ("2", "u", "s"), ("3", "t", "z"))
    )
    for bases, found in (
        ([ours, same], "1"), ([same, other], "2"), ([same, same], None), ([other, other], None)
    ):
        assert find_base(one, 2, bases) == found
    assert find_base(one, 1, [other]) == "3"

def test_changes_say_how_many_items_and_cases_they_cover():
    result = {
        "rule": {"metric": "m", "max_drop": 0.1}, "verdict": "passed", "why": "w", "needed": None,
        "items": 40, "base_coverage": 0.99999, "candidate_coverage": 0.952,
        "change": -0.02, "low": -0.06, "high": 0.02,
    }
    found = {"verdict": "passed", "mismatches": [], "rescoring": None}
    found |= {"new_failures": [], "failures": 0}
    [_, line] = lines_of(found | {"results": [result]})
    assert "-0.02 [-0.06, 0.02] over 40 items, 99.9% and 95.2% of the cases scored: w" in line

def test_failures_beyond_those_shown_are_counted():
    failure = {"metric": "m", "item": "i", "base": 1.0, "candidate": 0.0, "results": []}
    none = {"verdict": "regressed", "results": [], "mismatches": [], "rescoring": None}
    for more in (0, 1):
        count = FAILURES_SHOWN + more
        lines = [*lines_of(none | {"new_failures": [failure] * count, "failures": count})]
        assert len(lines) == 1 + FAILURES_SHOWN + more
""")
    reported = await offline()
    assert (reported.status, "8 passed" in reported.output) == (0, True), reported.output
