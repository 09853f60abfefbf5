"""What every command does with the signals and the files that its caller gave it."""

import os
import signal
import subprocess
import sys

import pytest

from entrypoints.cli.__main__ import READER_IS_GONE
from tests.support.waiting import WAIT_MAX_S

HANG_UP = """
import signal, sys
from entrypoints.cli.__main__ import prepare_process

prepare_process()
signal.signal(signal.SIGTERM, lambda *_: print("stopped in order", flush=True))
signal.raise_signal(signal.SIGHUP)
print("goes on")
"""
OPEN_A_FILE = """
import os, sys
from entrypoints.cli.__main__ import prepare_process

prepare_process()
print("said")
sys.stderr.write("warned")
file = os.open(os.devnull, os.O_RDONLY)
os.write(int(sys.argv[1]), f"{file > 2} {[os.get_inheritable(one) for one in range(3)]}".encode())
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [(signal.SIG_DFL, "stopped in order\ngoes on\n"), (signal.SIG_IGN, "goes on\n")],
)
def test_end_of_a_terminal_stops_in_order_but_not_under_nohup(before, said):
    ended = subprocess.run(
        [sys.executable, "-c", HANG_UP],
        preexec_fn=lambda: signal.signal(signal.SIGHUP, before),
        stdout=subprocess.PIPE,
        text=True,
        timeout=WAIT_MAX_S,
        check=True,
    )
    assert ended.stdout == said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_standard_one(closed):
    reading, writing = os.pipe()
    program = [sys.executable, "-c", OPEN_A_FILE, str(writing)]
    with os.fdopen(reading) as answers:
        subprocess.run(
            ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *program],
            pass_fds=[writing],
            timeout=WAIT_MAX_S,
            check=True,
        )
        os.close(writing)
        assert answers.read() == "True [True, True, True]"


@pytest.mark.parametrize(
    ("environ", "status"),
    [({}, 1), ({"PANDAPROBE_PORT": "many"}, 2)],
    ids=["without servers", "invalid setting"],
)
def test_status_is_the_same_after_the_reader_of_errors_has_gone(environ, status):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as errors:
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.cli", "serve"],
            env={"PATH": os.environ["PATH"], **environ},
            stderr=errors,
            timeout=WAIT_MAX_S,
            check=False,
        )
    assert ended.returncode == status


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_command_ends_quietly_after_the_reader_of_its_output_has_gone(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as output:
        ended = subprocess.run(
            [sys.executable, "-m", "entrypoints.cli", *arguments],
            env={"PATH": os.environ["PATH"]},
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=WAIT_MAX_S,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (READER_IS_GONE, b"")
