"""`gate`: rules, requests, reports and exit statuses."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from entrypoints.cli import gate
from entrypoints.cli.main import main
from entrypoints.cli.server_client import Response
from entrypoints.http.controllers.experiments import examples
from entrypoints.startup import CommandError

ERROR_STATUS: Final = 4
BASE, CANDIDATE = "5c0d9e8f-1a2b-4c3d-8e4f-5a6b7c8d9e0f", "0d9e8f5c-1a2b-4c3d-8e4f-5a6b7c8d9e0f"


@dataclass
class Api:
    """Answers as the service would: `statuses` are those of what is read, one after another.

    A number is the HTTP status of a failure.
    """

    statuses: list[str | int] = field(default_factory=list)
    status: int = 200
    sent: list[Any] = field(default_factory=list)
    naps: list[float] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    async def get(self, path: str) -> Response:
        self.read.append(path)
        status = self.statuses.pop(0) if self.statuses else "COMPLETED"
        if isinstance(status, int):
            return Response(status, b'{"detail": "try again later"}', "7")
        return Response(200, json.dumps({"status": status}).encode())

    async def post(self, body: bytes) -> Response:
        self.sent.append(json.loads(body))
        detail = {"detail": "rules.0.max_drop: is narrower"}
        return Response(
            self.status, json.dumps(examples.COMPARISON if self.status == 200 else detail).encode()
        )

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)

    def gate(self, reported: list[str]) -> gate.Gate:
        return gate.Gate(self, reported.append, self.sleep, lambda: sum(self.naps))


async def test_gate_waits_for_runs_and_then_compares() -> None:
    api, result = Api(["PENDING", "RUNNING"]), list[str]()
    body = {"base": BASE, "candidate": CANDIDATE}
    assert json.loads(await api.gate(result).compare(body, 60)) == examples.COMPARISON
    assert (api.sent, len(api.naps), result) == ([body], 2, [])


async def test_gate_waits_no_longer_than_asked() -> None:
    api, result = Api(["RUNNING"] * 100), list[str]()
    await api.gate(result).compare({"base": BASE, "candidate": None}, 10)
    assert (len(api.naps), len(api.sent)) == (5, 1)
    assert result == [f"the run of {BASE} isn't over"]


async def test_gate_waits_while_the_server_is_away() -> None:
    for away in (0, 429, 502, 503, 504):
        api, result = Api(["RUNNING", away, "RUNNING"]), list[str]()
        await api.gate(result).compare({"base": BASE, "candidate": None}, 60)
        assert (len(api.naps), len(api.sent), result) == (3, 1, [])


async def test_gate_does_not_wait_for_what_it_may_not_read() -> None:
    api = Api([404, 403])
    await api.gate([]).compare({"base": BASE, "candidate": CANDIDATE}, 60)
    assert (len(api.naps), len(api.sent)) == (0, 1)


async def test_gate_waits_for_the_named_runs_too() -> None:
    """Such as one that has scored the baseline again."""
    api = Api(["COMPLETED", "COMPLETED", "RUNNING"])
    body = {"base": BASE, "candidate": CANDIDATE, "base_run": CANDIDATE, "candidate_run": None}
    await api.gate([]).compare(body, 60)
    assert (api.read[-2:], len(api.naps)) == ([f"/evaluations/trace-runs/{CANDIDATE}"] * 2, 1)


async def test_gate_names_what_it_could_not_read() -> None:
    api, result = Api([503] * 100), list[str]()
    await api.gate(result).compare({"base": BASE, "candidate": None}, 10)
    assert api.naps == [7, 7]  # as the server asked
    assert result == [f"the run of {BASE} can't be read: 503: try again later"]


async def test_refusal_is_an_error() -> None:
    with pytest.raises(CommandError, match="is narrower"):
        await Api(status=422).gate([]).compare({"base": BASE, "candidate": CANDIDATE}, 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gate.toml", 'coverage = 0.9\n[[rules]]\nmetric = "m"\nmax_drop = 0.1\n'),
        ("gate.json", '{"coverage": 0.9, "rules": [{"metric": "m", "max_drop": 0.1}]}'),
    ],
)
def test_rules_of_files(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    rules = {"coverage": 0.9, "rules": [{"metric": "m", "max_drop": 0.1}]}
    assert gate.read_rules(path) == rules


@pytest.mark.parametrize("text", ["= 1", 'base = "x"', "[rule]\nmetric = 1"])
def test_wrong_rules_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"gate\.toml"):
        gate.read_rules(path)


def reported(
    tmp_path: Path, response: dict[str, Any], names: Sequence[str] = ("junit", "markdown", "json")
) -> tuple[int, dict[str, Path]]:
    files = {name: tmp_path / name for name in names}
    return gate.report(json.dumps(response).encode(), gate.Reports(**files)), files


@pytest.mark.parametrize(
    ("verdict", "status", "tag"),
    [
        ("pass", 0, None), ("regressed", 1, "failure"), ("inconclusive", 2, "skipped"),
        ("incomplete", 3, "error"),
    ],
)  # fmt: skip
def test_verdict_is_exit_status_and_junit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: str, status: int, tag: str | None
) -> None:
    [rule] = examples.COMPARISON["results"]
    sent = examples.COMPARISON | {
        "verdict": verdict, "results": [rule | {"verdict": verdict}]
    }  # fmt: skip
    exit_status, files = reported(tmp_path, sent)
    assert exit_status == status
    text = capsys.readouterr().out
    assert text.splitlines()[0] == verdict
    assert "about 78 more items ($1.47), or 6 repetitions of each item ($1.88)" in text
    suite = ET.parse(files["junit"]).getroot()
    [case] = suite.findall("testcase")
    assert [one.tag for one in case] == ([] if tag is None else [tag])
    counted = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    assert {name: suite.get(name) for name in (*counted.values(), "tests")} == {
        name: str(int(one == tag)) for one, name in counted.items()
    } | {"tests": "1"}
    assert json.loads(files["json"].read_text()) == sent
    assert f"## Gate: {verdict}" in files["markdown"].read_text()


def test_changes_say_how_many_items_and_cases_they_cover(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [rule] = examples.COMPARISON["results"]
    measured = rule | {"items": 1_020, "base_coverage": 0.99999, "candidate_coverage": 0.952}
    _, files = reported(tmp_path, examples.COMPARISON | {"results": [measured]})
    text = "-0.02 [-0.06, 0.02] over 1,020 items, 99.9% and 95.2% of the cases scored"
    assert text in capsys.readouterr().out
    assert text.partition("] ")[2] in files["markdown"].read_text()
    least = measured | {"rule": rule["rule"] | {"max_drop": None, "min": 0.9}}
    reported(tmp_path, examples.COMPARISON | {"results": [least]})
    assert "over 1,020 items, 95.2% of the cases scored" in capsys.readouterr().out
    reported(tmp_path, examples.COMPARISON | {"results": [measured | {"change": None}]})
    assert "nothing was measured" in capsys.readouterr().out


def test_means_say_of_how_many_items_they_are(tmp_path: Path) -> None:
    side = examples.COMPARISON["base"] | {"tokens": None, "tokens_items": 0, "cost_items": 1}
    _, files = reported(tmp_path, examples.COMPARISON | {"base": side})
    lines = files["markdown"].read_text().splitlines()
    assert "| latency_ms | 1250 (300 of 300 items) | 1250 (300 of 300 items) |" in lines
    assert "| tokens |  | 840 (300 of 300 items) |" in lines
    assert "| cost_usd | 0.0021 (1 of 300 items) | 0.0021 (300 of 300 items) |" in lines


def test_hostile_texts_stay_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    item = "a|b\n## <img src=x> [x](y)\x1b[31m\ufffe"
    marks = "\\`*_{}+!~@:&-"
    [failure] = examples.COMPARISON["new_failures"]
    failures = [failure | {"item": one} for one in (item, marks)]
    sent = examples.COMPARISON | {"new_failures": failures, "failures": 2_000}
    _, files = reported(tmp_path, sent)
    markdown = files["markdown"].read_text()
    assert r"| a\|b \#\# \<img src=x\> \[x\]\(y\) \[31m " in markdown
    assert "| " + "".join(f"\\{mark}" for mark in marks) + " |" in markdown
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "2,000 new failures in all" in text
    assert "<img src=x>" in str(ET.parse(files["junit"]).getroot().findtext("system-out"))


def test_mismatches_and_the_offer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mismatch = {"what": "fingerprint", "metric": "m", "base": ["a"], "candidate": ["b"]}
    offer = {"metrics": ["m"], "targets": 40, "estimated_cost_usd": 0.5}
    sent = examples.COMPARISON | {
        "verdict": "incomplete", "results": [], "mismatches": [mismatch], "rescoring": offer,
        "noise_floor": {"m": 0.02},
    }  # fmt: skip
    assert reported(tmp_path, sent)[0] == 3
    text = capsys.readouterr().out
    assert "the fingerprint of m differs: a and b" in text
    assert "a run of m over its 40 traces ($0.50)" in text
    assert "noise floor of m: 0.0200" in text


def test_other_answers_give_no_verdict() -> None:
    for content in (b"{}", b"x", b'{"verdict": "fine"}'):
        with pytest.raises(CommandError):
            gate.report(content, gate.Reports())


@pytest.mark.parametrize(
    "arguments",
    [
        ("gate",),
        ("gate", "x"),
        ("gate", BASE, "--typo"),
        ("gate", BASE, CANDIDATE, "--rules", "/no/such.toml"),
        ("gate", BASE, CANDIDATE, "--url", "http://127.0.0.1:1", "--key", "k", "--project", ""),
    ],
)
def test_error_gives_no_verdict(arguments: Sequence[str], tmp_path: Path) -> None:
    """A build that tolerates "inconclusive" must not tolerate a typing error."""
    environ = {"PANDAPROBE_DATA_DIR": str(tmp_path)}
    try:
        status: object = main(arguments, environ)
    except SystemExit as end:
        status = end.code
    assert status == ERROR_STATUS


@pytest.mark.parametrize("arguments", [[BASE], [BASE, CANDIDATE, "--aa"]])
def test_candidate_or_aa_is_asked_for(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", *arguments], {}) == ERROR_STATUS
    assert "give CANDIDATE, or --aa" in capsys.readouterr().err


def test_setting_error_gives_no_verdict() -> None:
    assert main(["gate", BASE, CANDIDATE], {"PANDAPROBE_PORT": "x"}) == ERROR_STATUS
