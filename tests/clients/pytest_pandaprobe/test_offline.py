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
    told = await online(*workers)
    assert (told.status, "8 passed" in told.output) == (0, True), told.output
    assert "offline: PANDAPROBE_ENDPOINT or PANDAPROBE_API_KEY isn't set" in told.output
    assert "python -m pytest_pandaprobe " in told.output
    assert len(await online.experiments()) == 1
    told = await online("pandaprobe-results.json", **UPLOAD)
    assert (told.status, "set PANDAPROBE_ENDPOINT" in told.output) == (2, True)
    online.environ = service
    for _ in range(2):  # again: the same experiment
        told = await online("pandaprobe-results.json", **UPLOAD)
        [made, _] = await online.experiments()
        assert told.output == f"test_agent.py::test_answer: experiment {made['id']}\n"
    assert await online.outputs(made["id"]) == dict.fromkeys(CAPITALS, 2)
    assert made["closed_at"] is not None


async def test_other_items_are_not_uploaded(online: Pytest) -> None:
    await online.project.prepare()
    write_items(online, France="Lyon")
    online.write(TESTS)
    online.environ, service = {}, online.environ
    assert (await online()).status == 0
    online.environ = service
    told = await online("pandaprobe-results.json", **UPLOAD)
    assert (told.status, "aren't those" in told.output) == (1, True), told.output
    assert len(await online.experiments()) == 1


async def test_offline_session_gives_no_verdict(offline: Pytest) -> None:
    write_items(offline)
    offline.write(TESTS)
    told = await offline("--pandaprobe-base", "77777777-7777-4777-8777-777777777771")
    assert (told.status, "offline there is no verdict" in told.output) == (1, True), told.output


async def test_wrong_files(offline: Pytest) -> None:
    offline.write(TESTS)
    told = await offline()
    assert (told.status, f"{DATASET}.ndjson" in told.output) == (2, True), told.output
    (offline.folder / f"{DATASET}.ndjson").write_text('{"id": "a"}\n{\n')
    told = await offline("--pandaprobe-items", ".")
    assert (told.status, "ndjson, line 2: " in told.output) == (2, True), told.output
    (offline.folder / f"{DATASET}.ndjson").write_text('{"id": "a"}\n{"id": "a", "split": "test"}\n')
    told = await offline("--pandaprobe-items", ".")
    assert (told.status, "line 2: the id a is there twice" in told.output) == (2, True), told.output
    offline.environ = {"PANDAPROBE_ENDPOINT": "http://127.0.0.1:1", "PANDAPROBE_API_KEY": "x"}
    (offline.folder / "results.json").write_text("[]")
    told = await offline("results.json", **UPLOAD)
    assert (told.status, "has no results" in told.output) == (1, True), told.output
