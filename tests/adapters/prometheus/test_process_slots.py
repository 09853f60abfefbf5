"""Processes that share a folder of figures: each has a slot, and leaves it however it ends."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adapters.prometheus.process_slots import ProcessSlotError, acquire_slot

ROOT = Path(__file__).parents[3]
# Counts `number` times and says so; then it waits until its input ends.
COUNTS = """
import sys
from pathlib import Path
from adapters.prometheus.registry import MetricsRegistry
from adapters.prometheus.definitions import CONNECTIONS_MAX, FALLBACKS
figures = MetricsRegistry("1", Path(sys.argv[1]))
figures.count(FALLBACKS, by=int(sys.argv[2]))
figures.set(CONNECTIONS_MAX, int(sys.argv[2]))
print(figures.text().decode(), "END", flush=True)
sys.stdin.read()
"""


class Counting:
    """A process that has counted; `told` is what it said of all of them then."""

    def __init__(self, folder: Path, number: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", COUNTS, str(folder), str(number)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        self.told: dict[str, float] = {}
        for line in iter(self.process.stdout.readline, ""):
            if line.strip() == "END":
                break
            name, _, value = line.rpartition(" ")
            if not line.startswith("#"):
                self.told[name] = float(value)

    @property
    def total(self) -> tuple[float, float]:
        return (
            self.told["pandaprobe_rate_limit_fallbacks_total"],
            self.told["pandaprobe_database_connections_max"],
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_who_starts_takes_over_from_who_was_killed(tmp_path):
    first, second = Counting(tmp_path, 3), Counting(tmp_path, 5)
    assert (first.total, second.total) == ((3, 3), (8, 8))
    first.kill()
    third = Counting(tmp_path, 7)
    assert third.total == (15, 12)  # what was counted stays, what is there at a moment doesn't
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    second.kill()
    fourth = Counting(tmp_path, 0)
    assert fourth.total == (15, 7)
    third.kill()
    fourth.kill()
    anew = Counting(tmp_path, 1)  # nobody is there: it all begins anew
    assert anew.total == (1, 1)
    anew.kill()


def test_seats_are_taken_in_order_and_come_free(tmp_path):
    taken = [acquire_slot(tmp_path) for _ in range(3)]
    assert [one.number for one in taken] == [0, 1, 2]
    taken[1].release()
    again = acquire_slot(tmp_path)
    assert again.number == 1
    for one in (taken[0], taken[2], again):
        one.release()


def test_gauges_of_who_is_gone_are_not_read(tmp_path):
    here, gone = acquire_slot(tmp_path), acquire_slot(tmp_path)
    for name in ("counter_0", "counter_1", "gauge_livesum_0", "gauge_livesum_1"):
        (tmp_path / f"{name}.db").write_bytes(b"x")
    (tmp_path / "histogram_0.db").write_bytes(b"")  # is being made
    gone.release()
    assert [Path(one).stem for one in here.files()] == ["counter_0", "counter_1", "gauge_livesum_0"]
    here.release()


def test_a_folder_has_so_many_seats(tmp_path):
    taken = [acquire_slot(tmp_path) for _ in range(2)]
    with pytest.raises(ProcessSlotError, match="more than 2 processes"):
        acquire_slot(tmp_path, 2)
    for one in taken:
        one.release()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProcessSlotError, match="file"):
        acquire_slot(tmp_path / "file" / "metrics")


def test_a_seat_is_for_one_process_alone(tmp_path):
    slot = acquire_slot(tmp_path)
    other = os.open(tmp_path / f"{slot.number}.lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)
    slot.release()
