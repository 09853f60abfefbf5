"""What a marked test asks for, what a run of the tests has found, and the file for later."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pytest_pandaprobe.service import Service

NAME_MAX: Final = 200  # of an experiment, the server's maximum
BRANCH_MAX: Final = 200
REPETITIONS_MAX: Final = 10
REJECTED_SHOWN: Final = 20  # of each experiment


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The experiment of one marked test.

    Online it names the version of the dataset; offline `digest` is a hash of the items of the file.
    """

    test: str
    dataset: str
    metrics: tuple[str, ...]
    split: str | None = None
    version: str | None = None
    repetitions: int = 1
    model: str | None = None
    votes: int = 1
    max_cost_usd: float | None = None
    items: int = 0
    digest: str | None = None

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "metrics": tuple(values["metrics"])})

    @property
    def name(self) -> str:
        """The name of its experiment: the end of the test's id, which says more than its start."""
        return self.test[-NAME_MAX:]

    @property
    def cases(self) -> int:
        return self.items * self.repetitions

    def key(self, run: str) -> str:
        """The same in all processes of a run, so that they make one experiment."""
        return hashlib.sha256(f"{run}\n{self.test}".encode()).hexdigest()

    def create(self, service: Service, run: str, version: str, git: Mapping[str, str]) -> str:
        """The id of its experiment. Raises ServiceError."""
        body = {
            "name": self.name,
            "dataset": self.dataset,
            "version": version,
            "split": self.split,
            "repetitions": self.repetitions,
            "metrics": self.metrics,
            "model": self.model,
            "votes": self.votes,
            "max_cost_usd": self.max_cost_usd,
            "git": git,
        }
        return service.create(body, self.key(run))


def git_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The commit and branch that a GitHub workflow runs for."""
    branch = environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME", "")
    found = {"sha": environ.get("GITHUB_SHA", ""), "branch": branch[:BRANCH_MAX]}
    return {name: value for name, value in found.items() if value}


@dataclass(slots=True)
class Recorded:
    """The experiment of one test with its results: traces by item and repetition."""

    plan: Plan
    experiment: str | None
    results: dict[tuple[str, int], str] = field(default_factory=dict)

    def upload(self, service: Service) -> list[str]:
        """Reports the results and closes the experiment, if it is open. Raises ServiceError.

        Returns why results were rejected: sent again, they would be again.
        """
        assert self.experiment is not None
        if service.read(self.experiment)["closed_at"] is not None:
            service.close(self.experiment)  # its run may be missing if the server had failed then
            return []
        results = [
            {"item": item, "repetition": repetition, "trace_id": trace}
            for (item, repetition), trace in self.results.items()
        ]
        rejected = service.report(self.experiment, results)
        service.close(self.experiment)
        return rejected


def lines_of_rejected(test: str, rejected: Sequence[str]) -> list[str]:
    """A line for each result that was rejected, up to REJECTED_SHOWN, and one for the others."""
    lines = [f"{test}: rejected: {one}" for one in rejected[:REJECTED_SHOWN]]
    if len(rejected) > REJECTED_SHOWN:
        lines.append(f"{test}: {len(rejected):,} results were rejected in all")
    return lines


def digest_of(items: Iterable[Mapping[str, Any]]) -> str:
    """A hash of what a version of a dataset consists of, in any order."""
    rows = sorted(
        json.dumps([one.get(name) for name in ("id", "input", "expected", "split")], sort_keys=True)
        for one in items
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def read_items(path: Path, split: str | None) -> list[dict[str, Any]]:
    """The items of an NDJSON file. Raises OSError, or ValueError for another content."""
    items: dict[str, dict[str, Any]] = {}
    # Not `splitlines`: JSON may contain other separators of lines, such as U+2028.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise ValueError(f"{path}, line {number}: an object with an `id` is expected")  # noqa: TRY004 - as for other wrong lines
        if item["id"] in items:
            raise ValueError(f"{path}, line {number}: the id {item['id']} is there twice")
        items[item["id"]] = item
    return [one for one in items.values() if split is None or one.get("split") == split]


def write_results(path: Path, run: str, git: Mapping[str, str], some: Iterable[Recorded]) -> None:
    """Writes results to upload later. Replaces the file in one step."""
    experiments = [
        {
            "plan": asdict(one.plan),
            "experiment": one.experiment,
            "results": [[*case, trace] for case, trace in one.results.items()],
        }
        for one in some
    ]
    content = {"run": run, "git": dict(git), "experiments": experiments}
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.new")
    written.write_text(json.dumps(content, indent=1), encoding="utf-8")
    written.replace(path)


def upload_file(path: Path, service: Service) -> Iterable[tuple[str, str, list[str]]]:
    """Uploads a file of results.

    Yields each test, the id of its experiment, which is closed, and why results were rejected. The
    same file can be uploaded again. Raises OSError, ServiceError, or ValueError if the file has
    another content, or the dataset isn't the one that was tested.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        run, git = str(content["run"]), content["git"]
        some = [
            Recorded(
                Plan.from_options(one["plan"]),
                one["experiment"],
                {(item, repetition): trace for item, repetition, trace in one["results"]},
            )
            for one in content["experiments"]
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has no results of pytest-pandaprobe: {error!r}") from error
    for one in some:
        if one.experiment is None:
            version = one.plan.version or service.version(one.plan.dataset)
            items = service.items(one.plan.dataset, version, one.plan.split)
            if one.plan.digest is not None and digest_of(items) != one.plan.digest:
                raise ValueError(
                    f"the items of {one.plan.dataset} aren't those that {one.plan.test} ran over: "
                    "export the dataset again, and repeat the tests"
                )
            one.experiment = one.plan.create(service, run, version, git)
        rejected = one.upload(service)
        yield one.plan.test, one.experiment, rejected
