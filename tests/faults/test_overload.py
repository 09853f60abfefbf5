"""Three times the sustained rate: the service refuses early and keeps its memory limit."""

import json
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from entrypoints.http.middleware.load_shedding import BODIES_MAX_BYTES, REQUESTS_MAX
from tests.e2e.conftest import ROOT
from tests.faults.conftest import Loading, until_accepted
from tests.faults.support.accounts import assert_flood_kept
from tests.faults.support.background import Background
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack, pause_s

pytestmark = pytest.mark.e2e

TIMES: Final = 3
BASELINE_S: Final = 1.0
BASELINE_RUNS: Final = 2  # times, of which the better counts: the first run has cold caches
RECOVERY_RUNS: Final = (
    3  # times, which with their starts take the five seconds allowed for recovery
)
BASELINE_CONNECTIONS: Final = 32  # connections to measure the sustained rate with
CONNECTIONS: Final = 2 * REQUESTS_MAX
READ_AHEAD: Final = 64 << 10  # bytes of a request that uvicorn reads before the application asks
COPIES: Final = 3  # of a body: as received, as decoded, and as written
EARLY_S: Final = 2.0  # within this time half of all refusals are sent, on the busiest machine
ARRIVED_S: Final = 30.0  # large bodies are refused after they have arrived, over one loopback
CHECK_MAX_S: Final = 120.0

LOADS: Final = [
    # Limits of requests and of memory: tests/http/middleware/test_load_shedding.py.
    pytest.param(900, 3, EARLY_S, id="3s", marks=pytest.mark.exhaustive),
    pytest.param(900, 120, EARLY_S, id="120s", marks=pytest.mark.faults),
    pytest.param(100_000, 60, EARLY_S, id="60s-100kB", marks=pytest.mark.faults),
    pytest.param(1_000_000, 20, ARRIVED_S, id="20s-1MB", marks=pytest.mark.faults),
]


def memory_growth_max_bytes(payload: int) -> int:
    """Returns by how much the API's memory may grow under the limits of overload.py."""
    bodies = min(BODIES_MAX_BYTES, REQUESTS_MAX * payload)
    return CONNECTIONS * READ_AHEAD + COPIES * bodies


class Flood:
    """Requests from a separate process; `wait_report` waits for its end."""

    def __init__(
        self, stack: Stack, project: str, payload: int, seconds: float, rate: float = 0
    ) -> None:
        self.headers = stack.headers(project)
        self._file = stack.folder / f"flood-{uuid.uuid4().hex}"
        connections = CONNECTIONS if rate else BASELINE_CONNECTIONS
        given = (stack.url, seconds, rate, connections, payload, self._file)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.support.load_generator", *map(str, given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            json.dump(self.headers, stdin)

    def wait_report(self) -> tuple[Mapping[str, Any], list[str]]:
        """Returns the report, and the traces that were accepted."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            report = json.loads(stdout.read())
        assert self.process.wait() == 0
        assert set(report["statuses"]) <= {"202", "503"}, report
        assert (report["without_retry_after"], report["unanswered"], report["lost"]) == (0, 0, 0), (
            report
        )
        return report, self._file.read_text().split()


def memory_bytes(pid: int, what: str) -> int:
    """VmRSS: the memory in use now; VmHWM: the maximum since `reset_peak_memory`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) << 10


def reset_peak_memory(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.parametrize(("payload", "length_s", "refused_s"), LOADS)
def test_overload_is_refused_early_within_memory_limit(
    stack: Stack,
    loading: Loading,
    background_loop: Background,
    payload: int,
    length_s: float,
    refused_s: float,
) -> None:
    """Two ordinary clients continue meanwhile, and are served again afterwards."""
    pid = stack.processes["serve"].process.pid
    project = f"flood-{uuid.uuid4()}"
    baseline = [
        Flood(stack, project, payload, BASELINE_S).wait_report() for _ in range(BASELINE_RUNS)
    ]
    sustained = max(report["accepted_per_s"] for report, _ in baseline)
    idle = memory_bytes(pid, "VmRSS")
    reset_peak_memory(pid)
    with loading(clients=2) as load:
        flood = Flood(stack, project, payload, length_s, TIMES * sustained)
        while flood.process.poll() is None:
            assert stack.is_alive()
            pause_s(0.5)
        back = until_accepted(load)
        grown = memory_bytes(pid, "VmHWM") - idle
        report, accepted = flood.wait_report()
        after = [
            Flood(stack, project, payload, BASELINE_S).wait_report() for _ in range(RECOVERY_RUNS)
        ]
    assert report["statuses"]["503"] > 0, report
    refused, served = report["answer_s"]["503"], report["answer_s"]["202"]
    assert refused["p50"] < refused_s, report
    assert grown <= memory_growth_max_bytes(payload)
    background_loop.run(
        assert_flood_kept(
            stack.url,
            stack.headers(project),
            stack.settings,
            [*accepted, *(trace for _, traces in (*baseline, *after) for trace in traces)],
        ),
        CHECK_MAX_S,
    )
    offered = sum(report["statuses"].values()) + report["unsent"]
    recovered = ", ".join(f"{one['accepted_per_s']:.0f}" for one, _ in after)
    report_line(
        f"{offered / report['took_s']:.0f}/s of {payload} bytes for {length_s} s, where "
        f"{sustained:.0f}/s are sustained: {report['accepted_per_s']:.0f}/s accepted, half "
        f"within {served['p50']:.2f} s, slowest {served['max']:.2f} s; refused: half within "
        f"{refused['p50']:.3f} s, p99 {refused['p99']:.2f} s, slowest {refused['max']:.2f} s; "
        f"{report['statuses']}, {report['unsent']} unsent; memory {idle >> 20} MiB and "
        f"{grown >> 20} more at most; accepting {back:.2f} s after, then {recovered}/s, a second "
        "each"
    )
