"""Which tests a process of `pytest -n` gets: whole files, the longest first.

With files in order of their number of tests, as pytest-xdist has them, the few long tests of
tests/e2e would come last, and one process would wait for the other's. Files that use the same long
setup stay together too. The process that distributes knows tests by their ids only, so it reads the
files; an `xdist_group` doesn't reach it with pytest 9.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final, override

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# How long one test takes, in hundredths of a second; the first prefix that matches.
TEST_TIMES: Final = (
    ("tests/faults/", 700),
    ("tests/e2e/", 300),
    ("tests/clients/", 80),
    ("tests/adapters/postgres/", 10),
    ("tests/contracts/", 4),
    ("tests/http/", 3),
    ("tests/", 1),
)
ROOT: Final = Path(__file__).parents[2]
# Fixtures of the session that take seconds, and parameters of tests that need one of them.
LONG_SETUP: Final = re.compile(
    r"\b(dev_server|seeded|s3_url|replica_pair|signed_in: Page|whole_stack: Stack"
    r"|loading: Loading)\b"
)
NEEDS: Final = {
    "signed_in: Page": "dev_server",
    "whole_stack: Stack": "stack",
    "loading: Loading": "stack",
}


@cache
def group_of(file: str) -> str:
    """The name of the long setup that is used in a file of tests, or the file if it has none."""
    found = LONG_SETUP.search((ROOT / file).read_text())
    return NEEDS.get(found[1], found[1]) if found else file


def time_of(test: str) -> int:
    return next(time for prefix, time in TEST_TIMES if test.startswith(prefix))


class LongestFirst(LoadScopeScheduling):
    """Gives a process the longest group that is left, as soon as it has nearly no tests left."""

    _places: dict[str, int]

    @override
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])

    @override
    def _assign_work_unit(self, node: WorkerController) -> None:
        group = max(self.workqueue, key=self._time_left)
        tests = self.workqueue.pop(group)
        # The groups that this process has completed are forgotten: every report counts the others.
        self.assigned_work[node] = {
            name: some for name, some in self.assigned_work[node].items() if not all(some.values())
        } | {group: tests}
        node.send_runtest_some(
            [self._place(test) for test, completed in tests.items() if not completed]
        )

    def _time_left(self, group: str) -> int:
        tests = self.workqueue[group]
        return len(tests) * time_of(next(iter(tests)))

    def _place(self, test: str) -> int:
        """The index of a test, which a list of thousands would have to search."""
        if not hasattr(self, "_places"):
            self._places = {test: place for place, test in enumerate(self.collection or ())}
        return self._places[test]


def make_scheduler(config: Any, log: Any) -> LongestFirst | None:
    """The scheduler of `--dist loadgroup`; None for the other ways."""
    return LongestFirst(config, log) if config.getvalue("dist") == "loadgroup" else None
