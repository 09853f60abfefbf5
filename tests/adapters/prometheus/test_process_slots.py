"""Processes that share a metrics folder: each holds a slot until it ends, in whatever way."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.prometheus.process_slots import ProcessSlotError, acquire_slot

ROOT = Path(__file__).parents[3]
# Counts `number` times, prints the metrics, and waits until its input ends.
SCRIPT = """
import sys
from pathlib import Path
from adapters.prometheus.registry import MetricsRegistry
from adapters.prometheus.definitions import DATABASE_CONNECTIONS_MAX, RATE_LIMIT_FALLBACKS
metrics = MetricsRegistry("1", Path(sys.argv[1]))
metrics.count(RATE_LIMIT_FALLBACKS, by=int(sys.argv[2]))
metrics.set(DATABASE_CONNECTIONS_MAX, int(sys.argv[2]))
print(metrics.text().decode(), "END", flush=True)
sys.stdin.read()
"""


class CountingProcess:
    """A process that has counted; `samples` are the metrics of all processes that it printed."""

    def __init__(self, folder: Path, number: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.samples: dict[str, float] = {}
        for line in iter(self.process.stdout.readline, ""):
            if line.strip() == "END":
                break
            name, _, value = line.rpartition(" ")
            if not line.startswith("#"):
                self.samples[name] = float(value)

    @property
    def total(self) -> tuple[float, float]:
        return (
            self.samples["pandaprobe_rate_limit_fallbacks_total"],
            self.samples["pandaprobe_database_connections_max"],
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_new_process_reuses_the_slot_of_a_killed_one(tmp_path):
    first, second = CountingProcess(tmp_path, 3), CountingProcess(tmp_path, 5)
    assert (first.total, second.total) == ((3, 3), (8, 8))
    first.kill()
    third = CountingProcess(tmp_path, 7)
    assert third.total == (15, 12)  # counters of a killed process stay, its gauges don't
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    second.kill()
    fourth = CountingProcess(tmp_path, 0)
    assert fourth.total == (15, 7)
    third.kill()
    fourth.kill()
    fifth = CountingProcess(tmp_path, 1)  # no process runs, so the metrics start from zero
    assert fifth.total == (1, 1)
    fifth.kill()


def test_lowest_free_slot_is_acquired(tmp_path):
    slots = [acquire_slot(tmp_path) for _ in range(3)]
    assert [slot.number for slot in slots] == [0, 1, 2]
    slots[1].release()
    again = acquire_slot(tmp_path)
    assert again.number == 1
    for slot in (slots[0], slots[2], again):
        slot.release()


def test_live_gauges_of_an_ended_process_are_not_read(tmp_path):
    here, gone = acquire_slot(tmp_path), acquire_slot(tmp_path)
    for name in ("counter_0", "counter_1", "gauge_livesum_0", "gauge_livesum_1"):
        (tmp_path / f"{name}.db").write_bytes(b"x")
    (tmp_path / "histogram_0.db").write_bytes(b"")  # just created
    gone.release()
    assert [Path(file).stem for file in here.files()] == [
        "counter_0",
        "counter_1",
        "gauge_livesum_0",
    ]
    here.release()


def test_number_of_slots_is_limited(tmp_path):
    slots = [acquire_slot(tmp_path) for _ in range(2)]
    with pytest.raises(ProcessSlotError, match="more than 2 processes"):
        acquire_slot(tmp_path, 2)
    for slot in slots:
        slot.release()


def test_folder_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProcessSlotError, match="file"):
        acquire_slot(tmp_path / "file" / "metrics")
    with pytest.raises(ProcessSlotError, match="file isn't a folder"):
        acquire_slot(tmp_path / "file")


def test_slot_is_locked_for_one_process(tmp_path):
    slot = acquire_slot(tmp_path)
    other = os.open(tmp_path / f"{slot.number}.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    slot.release()


# Counts more series than fit into 64 KiB, where no file may become larger than that.
FILL = """
import logging, resource, sys
from pathlib import Path
from adapters.prometheus.definitions import HTTP_REQUESTS, RATE_LIMIT_FALLBACKS
from adapters.prometheus.registry import MetricsRegistry

logging.basicConfig(format="%(message)s")
metrics = MetricsRegistry("1", Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
for number in range(1_000):
    metrics.count(HTTP_REQUESTS, "GET", f"/{number}", "200")
metrics.count(RATE_LIMIT_FALLBACKS)
print(metrics.text().decode())
"""


def test_space_of_files_is_reserved(tmp_path):
    """A write into a hole of a full disk would end the process."""
    CountingProcess(tmp_path, 1).kill()
    files = list(tmp_path.glob("*.db"))
    assert files
    assert [one.name for one in files if 512 * one.stat().st_blocks < one.stat().st_size] == []


def test_series_without_space_are_left_out(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    counted = ended.stdout.count("pandaprobe_http_requests_total{")
    assert 100 < counted < 1_000
    assert "pandaprobe_rate_limit_fallbacks_total 1.0" in ended.stdout
    assert ended.stderr.count("some metrics aren't counted: their folder: File too large") == 1


def test_folder_without_space_is_refused(tmp_path):
    script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1)){SCRIPT}"
    command = [sys.executable, "-c", script, str(tmp_path), "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"ProcessSlotError: {tmp_path}: File too large" in ended.stderr
