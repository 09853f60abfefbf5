"""Progress of long commands, on a terminal and in a log."""

import io
import os
import pty

from entrypoints.progress import LOG_INTERVAL_S, Progress
from tests.support.fakes.clocks import ManualClock


def test_log_says_what_is_done_and_how_many_bytes():
    clock, stream = ManualClock(0.0), io.StringIO()
    with Progress(None, stream, clock, label="counting", in_bytes=True, is_brief=True) as progress:
        progress.show(0, 4_000_000)
        clock.now = LOG_INTERVAL_S
        progress.show(1_000_000, 4_000_000)
    [line, last] = stream.getvalue().splitlines()
    assert line.split()[:4] == ["counting", "1.0/4.0", "MB", "25%"]
    assert last.startswith("counting")


def test_log_gets_nothing_about_what_is_brief():
    clock, stream = ManualClock(0.0), io.StringIO()
    with Progress(None, stream, clock, label="counting", is_brief=True) as progress:
        clock.now = LOG_INTERVAL_S - 0.1
        progress.show(3, 4)
    assert stream.getvalue() == ""


def test_label_follows_the_work():
    clock, stream = ManualClock(0.0), io.StringIO()
    with Progress(None, stream, clock, label="migrating") as progress:
        progress.show(1, 2, "migrating 0002_more")
    assert stream.getvalue().split()[:3] == ["migrating", "0002_more", "1/2"]


def test_markup_in_a_label_is_text():
    stream = io.StringIO()
    with Progress(None, stream, ManualClock(0.0), label="[bold]x[/bold]"):
        pass
    assert "[bold]x[/bold]" in stream.getvalue()


def test_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")  # a terminal that is `dumb` gets none
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as stream, Progress(4, stream, label="migrating") as progress:
        progress.show(4, 4)
    shown = b""
    try:
        while part := os.read(ours, 65_536):
            shown += part
    except OSError:  # Linux: the other end is closed
        os.close(ours)
    shown = shown.decode()
    assert "migrating" in shown
    assert "━" in shown
    assert "4/4" in shown
    assert "\x1b[?25h" in shown  # the cursor is back
