"""`gate`: compares two experiments over HTTP, and exits with the verdict."""

import asyncio
import json
import math
import re
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec

from domain.wording import counted
from entrypoints.cli.server_client import (
    OK,
    TRANSIENT_STATUSES,
    Post,
    Response,
    Server,
    post_with_retries,
    problem_detail,
    wait_s,
)
from entrypoints.cli.trace_files import file_problem
from entrypoints.startup import CommandError

DESCRIBED_IN: Final = "docs/evaluation/experiments.md"
STATUSES: Final = {"pass": 0, "regressed": 1, "inconclusive": 2, "incomplete": 3}
RULE_KEYS: Final = frozenset({"rules", "coverage", "min_kappa"})
LOOK_EVERY: Final = 2  # the attempt after which `wait_s` says two seconds
UNFINISHED: Final = frozenset({"PENDING", "RUNNING"})

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")
_MARKDOWN: Final = re.compile(r"([\\`*_{}\[\]()#+!|~@:<>&-])")


class _Rule(msgspec.Struct):
    metric: str
    max_drop: float | None
    min: float | None
    max_ratio: float | None

    @property
    def text(self) -> str:
        limits = {"max_drop": self.max_drop, "min": self.min, "max_ratio": self.max_ratio}
        name, limit = next((pair for pair in limits.items() if pair[1] is not None), ("", 0.0))
        return f"{self.metric}: {name} {limit:g}"


class _Needed(msgspec.Struct):
    items: int | None
    items_cost_usd: float | None
    repetitions: int | None
    repetitions_cost_usd: float | None

    @property
    def text(self) -> str:
        ways = []
        if self.items is not None:
            ways.append(f"{counted(self.items, 'more item')}{_cost(self.items_cost_usd)}")
        if self.repetitions is not None:
            times = f"{counted(self.repetitions, 'repetition')} of each item"
            ways.append(times + _cost(self.repetitions_cost_usd))
        return (
            f"about {', or '.join(ways)} would decide it" if ways else "no number would decide it"
        )


class _Result(msgspec.Struct):
    rule: _Rule
    verdict: str
    why: str
    items: int
    base_coverage: float
    candidate_coverage: float
    change: float | None
    low: float | None
    high: float | None
    needed: _Needed | None

    @property
    def change_text(self) -> str:
        if self.change is None:
            return "nothing was measured"
        if self.low is None or self.high is None:
            return f"{self.change:.4g} {self.coverage_text}"
        return f"{self.change:.4g} [{self.low:.4g}, {self.high:.4g}] {self.coverage_text}"

    @property
    def coverage_text(self) -> str:
        """The items that are compared, and the share of each side's cases that has a score."""
        shares = _percent(self.candidate_coverage)
        if self.rule.min is None:
            shares = f"{_percent(self.base_coverage)} and {shares}"
        return f"over {counted(self.items, 'item')}, {shares} of the cases scored"

    @property
    def reason(self) -> str:
        return self.why if self.needed is None else f"{self.why}; {self.needed.text}"


class _Score(msgspec.Struct):
    metric: str
    reason: str | None = None


class _CaseResult(msgspec.Struct):
    trace_id: UUID
    scores: list[_Score]


class _Failure(msgspec.Struct):
    metric: str
    item: str
    base: float
    candidate: float
    results: list[_CaseResult]

    @property
    def evidence(self) -> str:
        """The first trace, and the reason of its score."""
        for one in self.results[:1]:
            reasons = [score.reason for score in one.scores if score.metric == self.metric]
            return f"trace {one.trace_id}" + "".join(f": {reason}" for reason in reasons if reason)
        return ""


class _Mismatch(msgspec.Struct):
    what: str
    metric: str | None
    base: list[str]
    candidate: list[str]

    @property
    def text(self) -> str:
        of = "" if self.metric is None else f" of {self.metric}"
        sides = [", ".join(one) or "none" for one in (self.base, self.candidate)]
        return f"the {self.what}{of} differs: {sides[0]} and {sides[1]}"


class _Rescoring(msgspec.Struct):
    metrics: list[str]
    targets: int
    estimated_cost_usd: float | None

    @property
    def text(self) -> str:
        cost = _cost(self.estimated_cost_usd)
        names = ", ".join(self.metrics)
        return (
            f"score the baseline again: a run of {names} over its "
            f"{counted(self.targets, 'trace')}{cost}, whose id is --base-run then"
        )


class _Side(msgspec.Struct):
    cases: int
    latency_ms: float | None
    latency_items: int
    tokens: float | None
    tokens_items: int
    cost_usd: float | None
    cost_items: int

    def mean_text(self, value: float | None, items: int) -> str:
        return "" if value is None else f"{value:.6g} ({items:,} of {counted(self.cases, 'item')})"

    @property
    def means(self) -> dict[str, str]:
        return {
            "latency_ms": self.mean_text(self.latency_ms, self.latency_items),
            "tokens": self.mean_text(self.tokens, self.tokens_items),
            "cost_usd": self.mean_text(self.cost_usd, self.cost_items),
        }


class Comparison(msgspec.Struct):
    """What a gate prints of the response of POST /experiments/compare."""

    verdict: str
    base: _Side
    candidate: _Side
    results: list[_Result]
    mismatches: list[_Mismatch]
    rescoring: _Rescoring | None
    failures: int
    new_failures: list[_Failure]
    noise_floor: dict[str, float] | None


def _cost(usd: float | None) -> str:
    return "" if usd is None else f" (${usd:.2f})"


def read_rules(path: Path) -> dict[str, Any]:
    """The rules of a TOML or JSON file. Raises CommandError for another content."""
    try:
        text = path.read_text()
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise CommandError(file_problem(path, error)) from error
    if not isinstance(found, dict) or (unknown := found.keys() - RULE_KEYS):
        names = f" has {', '.join(sorted(unknown))}, but" if isinstance(found, dict) else ""
        raise CommandError(f"{path}{names} may have only {', '.join(sorted(RULE_KEYS))}")
    return found


class Api(Protocol):
    """The two requests of a gate. They don't raise if the server isn't reached."""

    async def get(self, path: str) -> Response: ...

    async def post(self, body: bytes) -> Response: ...


@dataclass(frozen=True, slots=True)
class Gate:
    """Waits for the runs of both experiments, and for those that `body` names, and compares."""

    api: Api
    report: Callable[[str], object]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.monotonic

    async def compare(self, body: dict[str, Any], seconds: int) -> bytes:
        """The response, after at most so many seconds for the runs. Raises CommandError."""
        end = self.now() + seconds
        for path, what in _evaluations(body):
            await self._wait(path, what, end)
        sent = msgspec.json.encode(body)
        response = await post_with_retries(self.api.post, sent, self.report, self.sleep)
        if response.status != OK:
            raise CommandError(problem_detail(response))
        return response.body

    async def _wait(self, path: str, what: str, end: float) -> None:
        """Waits for a run. If it can't be read for good, the comparison says why."""
        while _is_unfinished(response := await self.api.get(path)):
            if self.now() >= end:
                is_read = response.status == OK
                why = "isn't over" if is_read else f"can't be read: {problem_detail(response)}"
                self.report(f"{what} {why}")
                return
            await self.sleep(wait_s(response, LOOK_EVERY))


def _evaluations(body: dict[str, Any]) -> list[tuple[str, str]]:
    """The kinds of object that have to finish: their paths and their names."""
    experiments = [body[name] for name in ("base", "candidate") if body.get(name) is not None]
    runs = [body[name] for name in ("base_run", "candidate_run") if body.get(name) is not None]
    return [(f"/experiments/{one}", f"the run of {one}") for one in experiments] + [
        (f"/evaluations/trace-runs/{one}", f"the run {one}") for one in runs
    ]


def _is_unfinished(response: Response) -> bool:
    """True as well if a later look may tell: a server restarts, or limits the rate."""
    if response.status != OK:
        return not response.status or response.status in TRANSIENT_STATUSES
    return msgspec.json.decode(response.body).get("status") in UNFINISHED


# --- reports --------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{math.floor(1_000 * share) / 10:g}%"


def _plain(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)


def as_text(comparison: Comparison) -> str:
    """A line for the verdict, each rule, each mismatch and each new failure."""
    lines = [comparison.verdict]
    lines += [
        f"{one.verdict}: {one.rule.text}: {one.change_text}: {one.reason}"
        for one in comparison.results
    ]
    lines += [one.text for one in comparison.mismatches]
    lines += [comparison.rescoring.text] if comparison.rescoring else []
    lines += [
        f"new failure: {one.item} ({one.metric}): {one.base:.4g} before, {one.candidate:.4g} now; "
        f"{one.evidence}"
        for one in comparison.new_failures
    ]
    if comparison.failures > len(comparison.new_failures):
        lines.append(f"{comparison.failures:,} new failures in all")
    for metric, floor in (comparison.noise_floor or {}).items():
        lines.append(f"noise floor of {metric}: {floor:.4f}")
    return "".join(f"{_plain(line)}\n" for line in lines)


def as_markdown(comparison: Comparison) -> str:
    """A report for a pull request. Texts of users are escaped."""

    def cell(text: str) -> str:
        return _MARKDOWN.sub(r"\\\1", _plain(text))

    lines = [f"## Gate: {comparison.verdict}", ""]
    if comparison.results:
        lines += ["| Rule | Verdict | Change, with its interval | |", "|---|---|---|---|"]
        for one in comparison.results:
            cells = (cell(one.rule.text), one.verdict, cell(one.change_text), cell(one.reason))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += [f"- {cell(one.text)}" for one in comparison.mismatches]
    lines += [f"- {cell(comparison.rescoring.text)}"] if comparison.rescoring else []
    if comparison.new_failures:
        lines += [f"### {counted(comparison.failures, 'new failure')}", ""]
        lines += ["| Item | Metric | Before | Now | Evidence |", "|---|---|---|---|---|"]
        lines += [
            f"| {cell(one.item)} | {cell(one.metric)} | {one.base:.4g} | {one.candidate:.4g} | "
            f"{cell(one.evidence)} |"
            for one in comparison.new_failures
        ]
        lines.append("")
    lines += ["| Mean of an item | Baseline | Candidate |", "|---|---|---|"]
    for name, mean in comparison.base.means.items():
        lines.append(f"| {name} | {mean} | {comparison.candidate.means[name]} |")
    return "\n".join(lines) + "\n"


def as_junit(comparison: Comparison) -> bytes:
    """A test for each rule: regressed is a failure, incomplete an error, inconclusive skipped."""
    suite = ET.Element("testsuite", name="pandaprobe gate")
    names = {"regressed": "failure", "incomplete": "error", "inconclusive": "skipped"}
    for one in comparison.results:
        case = ET.SubElement(suite, "testcase", classname="gate", name=_plain(one.rule.text))
        if one.verdict in names:
            message = _plain(f"{one.change_text}: {one.reason}")
            ET.SubElement(case, names[one.verdict], message=message)
    for mismatch in comparison.mismatches:
        name = f"same {mismatch.what}" + (f" of {mismatch.metric}" if mismatch.metric else "")
        case = ET.SubElement(suite, "testcase", classname="gate", name=_plain(name))
        ET.SubElement(case, "error", message=_plain(mismatch.text))
    for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("tests", str(len(suite)))
    ET.SubElement(suite, "system-out").text = as_text(comparison).replace("\r", " ")
    content: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Files to write; None: not."""

    junit: Path | None = None
    markdown: Path | None = None
    json: Path | None = None


def report(response: bytes, reports: Reports) -> int:
    """Prints the verdict and writes the files; returns the exit status. Raises CommandError."""
    try:
        found = msgspec.json.decode(response, type=Comparison)
        status = STATUSES[found.verdict]
    except (ValueError, KeyError) as error:
        raise CommandError(f"the server sent no comparison: {error}") from error
    sys.stdout.write(as_text(found))
    contents = {
        reports.junit: as_junit(found),
        reports.markdown: as_markdown(found).encode(),
        reports.json: response,
    }
    for path, content in contents.items():
        if path is not None:
            try:
                path.write_bytes(content)
            except OSError as error:
                raise CommandError(file_problem(path, error)) from error
    return status


@dataclass(frozen=True, slots=True)
class _HttpApi:
    client: Any
    poster: Post

    async def post(self, body: bytes) -> Response:
        return await self.poster(body)

    async def get(self, path: str) -> Response:
        import httpx2  # noqa: PLC0415 - slow to import

        try:
            response = await self.client.get(path)
        except httpx2.HTTPError as error:
            return Response(0, (str(error) or type(error).__name__).encode())
        return Response(response.status_code, response.content, response.headers.get("retry-after"))


def run(server: Server, body: dict[str, Any], reports: Reports, seconds: int) -> int:
    """Compares and reports; returns the exit status. Raises CommandError."""

    async def compare() -> bytes:
        async with server.open() as client:
            post = server.poster(client, "/experiments/compare", "application/json")
            gate = Gate(_HttpApi(client, post), lambda line: sys.stderr.write(f"{line}\n"))
            return await gate.compare(body, seconds)

    return report(asyncio.run(compare()), reports)
