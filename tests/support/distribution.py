"""Which tests a process of `pytest -n` gets: whole files, the longest first.

With files in order of their number of tests, as pytest-xdist has them, the few long tests of
tests/e2e would come last, and one process would wait for the other's. Files that use the same long
setup stay together too, so that one process makes it. The process that distributes knows tests by
their ids only, so it reads the files; an `xdist_group` doesn't reach it with pytest 9.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, override

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Seconds of the files that take longest, about as in the JUnit report of `make tests`. They decide
# the order alone: a file that isn't here, or takes another time meanwhile, runs at a worse moment.
FILE_TIMES_S: Final = {
    "tests/e2e/test_backup.py": 33,
    "tests/e2e/dashboard/test_dashboard_journeys.py": 17,
    "tests/e2e/documentation/test_guide.py": 27,
    "tests/e2e/test_workers.py": 26,
    "tests/e2e/test_observed.py": 22,
    "tests/e2e/dashboard/test_dashboard.py": 16,
    "tests/clients/pytest_pandaprobe/test_online.py": 10,
    "tests/e2e/test_dev.py": 17,
    "tests/http/test_isolation_behind_policies.py": 16,
    "tests/adapters/postgres/evaluation/test_alert_plans.py": 15,
    "tests/adapters/dramatiq/test_worker_pool.py": 13,
    "tests/e2e/documentation/test_reference.py": 8,
    "tests/faults/test_kills.py": 13,
    "tests/e2e/dashboard/test_dashboard_admin.py": 12,
    "tests/e2e/dashboard/test_dashboard_hostile.py": 12,
    "tests/e2e/dashboard/test_dashboard_monitors.py": 12,
    "tests/adapters/embedded/test_embedded.py": 11,
    "tests/adapters/postgres/tracing/test_plans.py": 11,
    "tests/e2e/dashboard/test_dashboard_attacks.py": 11,
    "tests/e2e/test_commands.py": 11,
    "tests/adapters/postgres/test_read_replica.py": 10,
    "tests/e2e/dashboard/test_dashboard_hostile_views.py": 10,
    "tests/e2e/dashboard/test_dashboard_runs.py": 10,
    "tests/e2e/documentation/test_readme.py": 7,
    "tests/adapters/postgres/test_migrations.py": 9,
    "tests/architecture/test_lazy_imports.py": 9,
    "tests/contracts/evaluation/judging/test_judge.py": 9,
    "tests/contracts/identity/test_project_purge.py": 9,
    "tests/contracts/tracing/test_hidden_traces.py": 9,
    "tests/e2e/dashboard/test_dashboard_scores.py": 9,
    "tests/e2e/dashboard/test_dashboard_usage.py": 9,
    "tests/e2e/test_removals.py": 9,
    "tests/e2e/dashboard/test_dashboard_experiments.py": 8,
    "tests/e2e/dashboard/test_dashboard_outage.py": 8,
    "tests/e2e/test_cli_login.py": 8,
    "tests/entrypoints/mcp/test_answers.py": 8,
    "tests/http/openapi/test_documented_answers.py": 8,
    "tests/adapters/postgres/test_moving.py": 7,
    "tests/e2e/test_seed.py": 7,
}
# Seconds of one test in other files; the first prefix that matches.
TEST_TIMES_S: Final = (
    ("tests/faults/", 4),
    ("tests/e2e/", 2),
    ("tests/clients/", 0.8),
    ("tests/adapters/postgres/", 0.1),
    ("tests/contracts/", 0.04),
    ("tests/http/", 0.02),
    ("tests/", 0.01),
)
ROOT: Final = Path(__file__).parents[2]
# Fixtures of the session that take seconds, and parameters of tests that need one of them.
LONG_SETUP: Final = re.compile(
    r"""\b(seeded|s3_url|replica_pair|whole_stack: Stack|loading: Loading"""
    r"""|dev_server|signed_in: Page|opened: Page|page: Page)(?=[,:)"])"""
)
DEV: Final = "dev_server"
MODEL_CLIENTS: Final = "tests.support.fakes.model_provider"  # their imports take two seconds
NEEDS: Final = {"whole_stack: Stack": "stack", "loading: Loading": "stack"} | dict.fromkeys(
    ("signed_in: Page", "opened: Page", "page: Page"), DEV
)
# To start a `dev` and a browser takes five seconds of a processor, but their files take minutes
# together: with more processes, the others would wait for them at the end. Each has its own then.
PROCESSES_WITH_ONE_DEV: Final = 3


def file_of(test: str) -> str:
    return test.partition("::")[0]


@cache
def group_of(file: str) -> str:
    """The name of the long setup that is used in a file of tests, or the file if it has none."""
    text = (ROOT / file).read_text()
    if (found := LONG_SETUP.search(text)) is not None:
        return NEEDS.get(found[1], found[1])
    return MODEL_CLIENTS if MODEL_CLIENTS in text else file


def seconds_of(tests: Iterable[str]) -> float:
    """About how long these tests of whole files take."""
    counts = Counter(map(file_of, tests))
    return sum(
        FILE_TIMES_S.get(file) or count * time_of_one(file) for file, count in counts.items()
    )


def time_of_one(file: str) -> float:
    return next(time for prefix, time in TEST_TIMES_S if file.startswith(prefix))


class LongestFirst(LoadScopeScheduling):
    """Gives a process the longest group that is left, as soon as it has nearly no tests left."""

    _places: dict[str, int]
    _seconds: dict[str, float]

    @override
    def _split_scope(self, nodeid: str) -> str:
        file = file_of(nodeid)
        group = group_of(file)
        return file if group == DEV and self.numnodes > PROCESSES_WITH_ONE_DEV else group

    @override
    def _assign_work_unit(self, node: WorkerController) -> None:
        group = max(self.workqueue, key=self._seconds_of)
        tests = self.workqueue.pop(group)
        # The groups that this process has completed are forgotten: every report counts the others.
        self.assigned_work[node] = {
            name: some for name, some in self.assigned_work[node].items() if not all(some.values())
        } | {group: tests}
        node.send_runtest_some(
            [self._place(test) for test, completed in tests.items() if not completed]
        )

    def _seconds_of(self, group: str) -> float:
        if not hasattr(self, "_seconds"):
            self._seconds = {name: seconds_of(tests) for name, tests in self.workqueue.items()}
        return self._seconds[group]

    def _place(self, test: str) -> int:
        """The index of a test, which a list of thousands would have to search."""
        if not hasattr(self, "_places"):
            self._places = {test: place for place, test in enumerate(self.collection or ())}
        return self._places[test]


def make_scheduler(config: Any, log: Any) -> LongestFirst | None:
    """The scheduler of `--dist loadgroup`; None for the other ways."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadgroup" else None
