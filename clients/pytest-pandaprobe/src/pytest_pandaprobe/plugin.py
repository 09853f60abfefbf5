"""The hooks of pytest.

Each marked test is an experiment. Workers of pytest-xdist make it together, by an idempotency key
that contains the controller's id of the run; its results reach the controller with the reports of
the tests, so that a worker that crashes loses only those of its last test.
"""

import json
import os
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import pytest

from pytest_pandaprobe.case import Case
from pytest_pandaprobe.gate import find_base, judge, lines_of, read_rules
from pytest_pandaprobe.record import (
    REPETITIONS_MAX,
    Plan,
    Recorded,
    digest_of,
    git_of,
    lines_of_rejected,
    read_items,
    write_results,
)
from pytest_pandaprobe.service import Service, ServiceError

MARKER: Final = "pandaprobe"
RUN: Final = "pandaprobe_run"  # in the input of a worker
RECORD: Final = "pandaprobe_case"  # in the report of a test
SIGNATURE: Final = (
    "pandaprobe(*, dataset, metrics, split=None, version=None, repetitions=1, model=None, votes=1, "
    "max_cost_usd=None): run this test over the items of a dataset, as an experiment"
)
TAKEN: Final = frozenset(one.name for one in fields(Plan)) - {"test", "items", "digest"}
OPTIONS: Final = {
    "base": ("EXPERIMENT", "id of the experiment to compare with; may be repeated"),
    "gate": ("RULES", "TOML or JSON file with the rules of the gate; default: no drop over 0.05"),
    "items": ("FOLDER", "offline: has the items in <dataset>.ndjson; default: datasets"),
    "results": ("FILE", "for results to upload later; default: pandaprobe-results.json"),
    "wait": ("SECONDS", "how long the gate waits for running evaluations; default: 600"),
}
DEFAULTS: Final = {"items": "datasets", "results": "pandaprobe-results.json", "wait": "600"}
INTERRUPTED: Final = frozenset(
    {pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR}
)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What a test is parametrized with."""

    plan: Plan
    item: Mapping[str, Any]
    repetition: int


@dataclass(slots=True)
class _Run:
    """The run of the tests, in this process. `id` is the same in all of its processes."""

    id: str
    is_worker: bool
    service: Service | None
    git: Mapping[str, str]
    items_folder: Path
    results_file: Path
    bases: Sequence[str]
    rules: Mapping[str, Any]
    wait_s: float
    allows_inconclusive: bool
    read: dict[tuple[str, str | None, str | None], tuple[str | None, list[dict[str, Any]]]] = field(
        default_factory=dict
    )
    made: dict[str, str] = field(default_factory=dict)  # experiments by test
    recorded: dict[str, Recorded] = field(default_factory=dict)  # by test; not in a worker
    nodes: dict[tuple[str, str, int], str] = field(default_factory=dict)  # by case
    mixed: set[str] = field(default_factory=set)  # tests with several nodes of one case
    lines: list[str] = field(default_factory=list)  # of the summary
    has_failed: bool = False

    def fail(self, line: str) -> None:
        self.lines.append(line)
        self.has_failed = True

    def complete(self, plan: Plan) -> tuple[Plan, list[dict[str, Any]]]:
        """The plan with its version, and its items. Raises ServiceError, OSError or ValueError."""
        asked = (plan.dataset, plan.version, plan.split)
        if asked not in self.read:
            self.read[asked] = self._items(plan)
        version, items = self.read[asked]
        if not items:
            of = "" if plan.split is None else f" in the split {plan.split}"
            raise ValueError(f"the dataset {plan.dataset} has no items{of}")
        digest = digest_of(items) if self.service is None else None
        return replace(plan, version=version, items=len(items), digest=digest), items

    def _items(self, plan: Plan) -> tuple[str | None, list[dict[str, Any]]]:
        if self.service is None:
            path = self.items_folder / f"{plan.dataset}.ndjson"
            return plan.version, read_items(path, plan.split)
        version = plan.version or self.service.version(plan.dataset)
        return version, [*self.service.items(plan.dataset, version, plan.split)]

    def experiment(self, plan: Plan) -> str | None:
        """The id of the experiment, which is made by the first of its tests; None offline."""
        if self.service is None or plan.version is None:
            return None
        if plan.test not in self.made:
            self.made[plan.test] = plan.create(self.service, self.id, plan.version, self.git)
        return self.made[plan.test]

    def record(self, case_report: Mapping[str, Any], node: str) -> None:
        """`node` is the id of the test with all of its parameters."""
        plan = Plan.from_options(case_report["plan"])
        known = self.recorded.setdefault(plan.test, Recorded(plan, case_report["experiment"]))
        case = (plan.test, case_report["item"], case_report["repetition"])
        if self.nodes.setdefault(case, node) != node and plan.test not in self.mixed:
            self.mixed.add(plan.test)
            self.fail(
                f"{plan.test}: {self.nodes[case]} and {node} are the same case, so one has the "
                "result of the other: make a test of each parameter"
            )
        if case_report["trace_id"] is not None:
            known.results[case_report["item"], case_report["repetition"]] = case_report["trace_id"]

    def finish(self, *, is_interrupted: bool) -> None:
        """Uploads all results and judges them, or writes them to a file."""
        if not self.recorded:
            if self.bases:
                self.fail("gate: no marked test ran, so there is no verdict")
            return
        self.lines += [
            f"{one.plan.test}: {len(one.results)} of {one.plan.cases} cases have a result"
            + (f"; experiment {one.experiment}" if one.experiment else "")
            for one in self.recorded.values()
        ]
        if self.service is None:
            self._keep("offline: PANDAPROBE_ENDPOINT or PANDAPROBE_API_KEY isn't set")
            if self.bases:
                self.fail("gate: offline there is no verdict")
        elif is_interrupted:
            self._keep("interrupted: the experiments aren't closed")
        else:
            self._upload(self.service)

    def _keep(self, why: str) -> None:
        self.lines.append(why)
        try:
            write_results(self.results_file, self.id, self.git, self.recorded.values())
        except OSError as error:
            self.fail(f"the results can't be written: {error}")
            return
        self.lines.append(
            f"the results are in {self.results_file}; to upload them: "
            f"python -m pytest_pandaprobe {self.results_file}"
        )

    def _upload(self, service: Service) -> None:
        refused = []
        for one in self.recorded.values():
            try:
                rejected = one.upload(service)
            except ServiceError as error:
                refused.append(f"{one.plan.test}: {error}")
                continue
            for line in lines_of_rejected(one.plan.test, rejected):
                self.fail(line)
        for line in refused:
            self.fail(line)
        if refused:
            self._keep("not everything was uploaded")
        elif self.bases:
            self._judge(service)

    def _judge(self, service: Service) -> None:
        try:
            bases = [service.read(one) for one in self.bases]
        except ServiceError as error:
            self.fail(f"gate: {error}")
            return
        for one in self.recorded.values():
            base = find_base(one, len(self.recorded), bases)
            if base is None or one.experiment is None:
                self.fail(f"gate: {one.plan.test} has no baseline, or several")
                continue
            try:
                found = judge(service, one.experiment, base, self.rules, self.wait_s)
            except ServiceError as error:
                self.fail(f"gate: {one.plan.test}: {error}")
                continue
            self.lines.append(f"{one.plan.test}, compared with {base}")
            self.lines += lines_of(found)
            passing = {"pass", "inconclusive"} if self.allows_inconclusive else {"pass"}
            self.has_failed |= found["verdict"] not in passing


_RUN: Final = pytest.StashKey[_Run]()
_CASE: Final = pytest.StashKey[tuple[Plan, Case]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pandaprobe")
    for name, (metavar, text) in OPTIONS.items():
        action = "append" if name == "base" else "store"
        group.addoption(f"--pandaprobe-{name}", action=action, metavar=metavar, help=text)
        kind = "args" if name == "base" else "string"
        parser.addini(f"pandaprobe_{name}", text, type=kind, default=DEFAULTS.get(name))  # type: ignore[arg-type] # chosen of two literals
    text = "don't fail if the gate's verdict is inconclusive"
    group.addoption("--pandaprobe-allow-inconclusive", action="store_true", help=text)
    parser.addini("pandaprobe_allow_inconclusive", text, type="bool", default=False)


def _path(config: pytest.Config, name: str) -> Path | None:
    """An option is relative to the current folder, a setting to the root folder."""
    if given := config.getoption(f"pandaprobe_{name}"):
        return config.invocation_params.dir / str(given)
    setting = config.getini(f"pandaprobe_{name}")
    return config.rootpath / str(setting) if setting else None


def _experiment_id(text: str) -> str:
    """Raises ValueError now, and not with the verdict, after all tests have run."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise ValueError(f"--pandaprobe-base {text!r} isn't the id of an experiment") from error


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", SIGNATURE)
    given: dict[str, Any] = getattr(config, "workerinput", {})
    rules_file = _path(config, "gate")
    bases = config.getoption("pandaprobe_base") or config.getini("pandaprobe_base") or []
    if rules_file is not None and not bases:
        raise pytest.UsageError("--pandaprobe-gate needs --pandaprobe-base too")
    wait = config.getoption("pandaprobe_wait") or config.getini("pandaprobe_wait")
    try:
        rules = {} if rules_file is None else read_rules(rules_file)
        bases = [_experiment_id(one) for one in bases]
        wait_s = float(wait)
        service = Service.from_environ(os.environ)
    except (OSError, ValueError, ServiceError) as error:
        raise pytest.UsageError(f"pandaprobe: {error}") from error
    allows = config.getoption("pandaprobe_allow_inconclusive")
    config.stash[_RUN] = _Run(
        id=given.get(RUN) or str(uuid.uuid4()),
        is_worker=bool(given),
        service=service,
        git=git_of(os.environ),
        items_folder=_path(config, "items") or config.rootpath,
        results_file=_path(config, "results") or config.rootpath / DEFAULTS["results"],
        bases=bases,
        rules=rules,
        wait_s=wait_s,
        allows_inconclusive=bool(allows or config.getini("pandaprobe_allow_inconclusive")),
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(_RUN, None)
    if run is not None and run.service is not None:
        run.service.client.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A hook of pytest-xdist: tells a new worker which run it takes part in."""
    node.workerinput[RUN] = node.config.stash[_RUN].id


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None:
        return
    test = metafunc.definition.nodeid
    if "case" not in metafunc.fixturenames:
        pytest.fail(f"{test} is marked with pandaprobe, but has no argument `case`", pytrace=False)
    try:
        plan, items = metafunc.config.stash[_RUN].complete(_plan(test, marker))
    except TypeError as error:
        pytest.fail(f"pandaprobe: the marker of {test}: {error}", pytrace=False)
    except (ServiceError, OSError, ValueError) as error:
        pytest.fail(f"pandaprobe: {error}", pytrace=False)
    counts = range(1, plan.repetitions + 1)
    parameters = [_Parameter(plan, item, count) for item in items for count in counts]
    ids = [one.item["id"] + (f"-{one.repetition}" if len(counts) > 1 else "") for one in parameters]
    metafunc.parametrize("case", parameters, indirect=True, ids=ids)


def _plan(test: str, marker: pytest.Mark) -> Plan:
    unknown = sorted(marker.kwargs.keys() - TAKEN)
    if marker.args or unknown or not {"dataset", "metrics"} <= marker.kwargs.keys():
        raise ValueError(f"the marker of {test} must be {SIGNATURE.partition('): ')[0]})")
    plan = Plan.from_options({**marker.kwargs, "test": test})
    if isinstance(marker.kwargs["metrics"], str) or not plan.metrics:
        raise ValueError(f"the marker of {test} needs a list of metrics")
    if not 1 <= plan.repetitions <= REPETITIONS_MAX:
        raise ValueError(f"the repetitions of {test} must be 1 to {REPETITIONS_MAX}")
    return plan


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """An item of the dataset that the marker `pandaprobe` names, and a repetition."""
    parameter = getattr(request, "param", None)
    if not isinstance(parameter, _Parameter):
        pytest.fail("`case` needs the marker pandaprobe", pytrace=False)
    try:
        experiment = request.config.stash[_RUN].experiment(parameter.plan)
    except ServiceError as error:
        pytest.fail(f"pandaprobe: {error}", pytrace=False)
    item = parameter.item
    made = Case(
        item=item["id"],
        input=item.get("input"),
        expected=item.get("expected"),
        repetition=parameter.repetition,
        experiment=experiment,
    )
    request.node.stash[_CASE] = (parameter.plan, made)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if (found := item.stash.get(_CASE, None)) is not None:
        plan, case = found
        case_report = {
            "plan": asdict(plan),
            "experiment": case.experiment,
            "item": case.item,
            "repetition": case.repetition,
            "trace_id": case.trace_id,
        }
        setattr(report, RECORD, json.dumps(case_report))
    return report


class _Recorder:
    """Reads the reports of the tests, where all of them arrive: not in a worker."""

    def __init__(self, run: _Run) -> None:
        self.run = run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (case_report := getattr(report, RECORD, None)) is not None:
            self.run.record(json.loads(case_report), report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if session.config.getoption("collectonly"):
            return
        self.run.finish(is_interrupted=exitstatus in INTERRUPTED)
        if self.run.has_failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    # pytest 8 has no public name for the type of its reporter.
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.run.lines:
            terminalreporter.section("pandaprobe")
            for line in self.run.lines:
                terminalreporter.line(line, red=self.run.has_failed)


def pytest_sessionstart(session: pytest.Session) -> None:
    run = session.config.stash[_RUN]
    if not run.is_worker:
        session.config.pluginmanager.register(_Recorder(run), "pandaprobe-recorder")
