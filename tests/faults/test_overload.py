"""Three times what the service sustains: it refuses early, and keeps to its memory and its word."""

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
from tests.faults.accounts import assert_flood_kept
from tests.faults.background import Background
from tests.faults.conftest import Loading, until_accepted
from tests.faults.report import seen
from tests.faults.stack import Stack, pause_s

pytestmark = pytest.mark.e2e

TIMES: Final = 3
MEASURED_S: Final = 1.0
MEASURED: Final = 2  # times, of which the better counts: the first one finds all of it cold
AFTERWARDS: Final = 3  # times, which with their starts take the five seconds to recover in
CALM: Final = 32  # connections that measure what the service sustains
CONNECTIONS: Final = 2 * REQUESTS_MAX
READ_AHEAD: Final = 64 << 10  # bytes that uvicorn takes of a request before anybody asks for them
COPIES: Final = 3  # of a body: as received, as decoded, and as written
EARLY_S: Final = 2.0  # within it half of all refusals are told, on the busiest machine
COME_S: Final = 30.0  # large bodies are refused once they have come, all over one loopback
CHECK_MAX_S: Final = 120.0

FORMS: Final = [
    pytest.param(900, 3, EARLY_S, id="3s"),
    pytest.param(900, 120, EARLY_S, id="120s", marks=pytest.mark.faults),
    pytest.param(100_000, 60, EARLY_S, id="60s-100kB", marks=pytest.mark.faults),
    pytest.param(1_000_000, 20, COME_S, id="20s-1MB", marks=pytest.mark.faults),
]


def grown_max_bytes(payload: int) -> int:
    """By how much the API may grow: what the limits of overload.py come to."""
    bodies = min(BODIES_MAX_BYTES, REQUESTS_MAX * payload)
    return CONNECTIONS * READ_AHEAD + COPIES * bodies


class Flooded:
    """Requests of a process of its own, under way until `reported`."""

    def __init__(
        self, stack: Stack, project: str, payload: int, seconds: float, rate: float = 0
    ) -> None:
        self.headers = stack.headers(project)
        self._file = stack.folder / f"flood-{uuid.uuid4().hex}"
        connections = CONNECTIONS if rate else CALM
        given = (stack.url, seconds, rate, connections, payload, self._file)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load_generator", *map(str, given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            json.dump(self.headers, stdin)

    def reported(self) -> tuple[Mapping[str, Any], list[str]]:
        """What became of all, and the traces that were accepted."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            report = json.loads(stdout.read())
        assert self.process.wait() == 0
        assert set(report["statuses"]) <= {"202", "503"}, report
        assert (report["without_advice"], report["unanswered"], report["lost"]) == (0, 0, 0), report
        return report, self._file.read_text().split()


def memory_bytes(pid: int, what: str) -> int:
    """VmRSS: what a process has in memory now; VmHWM: at most since `from_now_on`."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split(f"{what}:")[1].split()[0]) << 10


def from_now_on(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@pytest.mark.parametrize(("payload", "length_s", "refused_s"), FORMS)
def test_three_times_what_it_sustains(
    stack: Stack,
    loading: Loading,
    beside: Background,
    payload: int,
    length_s: float,
    refused_s: float,
) -> None:
    """Two clients as ever go on meanwhile, and are served again once it is over."""
    pid = stack.processes["serve"].process.pid
    project = f"flood-{uuid.uuid4()}"
    calmly = [Flooded(stack, project, payload, MEASURED_S).reported() for _ in range(MEASURED)]
    sustained = max(report["accepted_per_s"] for report, _ in calmly)
    idle = memory_bytes(pid, "VmRSS")
    from_now_on(pid)
    with loading(clients=2) as load:
        flood = Flooded(stack, project, payload, length_s, TIMES * sustained)
        while flood.process.poll() is None:
            assert stack.lives()
            pause_s(0.5)
        back = until_accepted(load)
        grown = memory_bytes(pid, "VmHWM") - idle
        report, accepted = flood.reported()
        after = [Flooded(stack, project, payload, MEASURED_S).reported() for _ in range(AFTERWARDS)]
    assert report["statuses"]["503"] > 0, report
    refused, served = report["answer_s"]["503"], report["answer_s"]["202"]
    assert refused["p50"] < refused_s, report
    assert grown <= grown_max_bytes(payload)
    beside.run(
        assert_flood_kept(
            stack.url,
            stack.headers(project),
            stack.settings,
            [*accepted, *(trace for _, traces in (*calmly, *after) for trace in traces)],
        ),
        CHECK_MAX_S,
    )
    offered = sum(report["statuses"].values()) + report["unsent"]
    recovered = ", ".join(f"{one['accepted_per_s']:.0f}" for one, _ in after)
    seen(f"{offered / report['took_s']:.0f}/s of {payload} bytes for {length_s} s, where "
         f"{sustained:.0f}/s are sustained: {report['accepted_per_s']:.0f}/s accepted, half "
         f"within {served['p50']:.2f} s, slowest {served['max']:.2f} s; refused: half within "
         f"{refused['p50']:.3f} s, p99 {refused['p99']:.2f} s, slowest {refused['max']:.2f} s; "
         f"{report['statuses']}, {report['unsent']} unsent; memory {idle >> 20} MiB and "
         f"{grown >> 20} more at most; accepting {back:.2f} s after, then {recovered}/s, a second "
         "each")  # fmt: skip
