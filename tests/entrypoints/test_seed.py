"""`seed`: synthetic traces, options of the command, and failures of storage."""

import asyncio
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from rich.text import Text

from adapters.pricing.genai_prices import GenaiPriceBook
from application.tracing.ingest import IngestBatch
from domain.errors import Invalid, Unavailable
from domain.tracing.span import SpanKind, SpanStatus
from domain.tracing.trace import Trace, TraceStatus
from domain.tracing.usage import Usage
from entrypoints.cli.arguments import instant
from entrypoints.cli.main import main
from entrypoints.demo_data import scenarios, seed
from entrypoints.demo_data.generator import Recipe, synthetic_traces
from entrypoints.progress import Progress
from entrypoints.startup import CommandError
from tests.support.builders.values import OURS
from tests.support.clients.command_line import run_command
from tests.support.waiting import WAIT_MAX_S, until

UNTIL = datetime(2026, 3, 1, tzinfo=UTC)


def recipe(traces: int, **overrides) -> Recipe:
    return Recipe(**{"traces": traces, "seed": 1, "days": 30, "until": UNTIL} | overrides)


@pytest.fixture(scope="module")
def many() -> list[Trace]:
    return list(synthetic_traces(recipe(3_000)))


# --- traces ----------------------------------------------------------------------------------


@pytest.mark.exhaustive  # tests/e2e/test_seed.py runs two processes with one recipe
@pytest.mark.slow
def test_same_recipe_gives_same_traces_in_every_process():
    program = (
        "import hashlib; from tests.entrypoints.test_seed import recipe, synthetic_traces;"
        "print(hashlib.sha256(repr(list(synthetic_traces(recipe(40)))).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
    assert list(synthetic_traces(recipe(40))) == list(synthetic_traces(recipe(40)))


def test_another_seed_gives_other_traces():
    first, second = (
        {trace.id for trace in synthetic_traces(recipe(40, seed=seed))} for seed in (1, 2)
    )
    assert len(first) == len(second) == 40
    assert first.isdisjoint(second)


@pytest.mark.parametrize(("traces", "days"), [(1, 1), (1, 3_650), (2, 1), (50, 365), (500, 1)])
def test_traces_are_ordered_and_fill_the_period(traces, days):
    starts = [trace.started_at for trace in synthetic_traces(recipe(traces, days=days))]
    assert len(starts) == traces
    assert starts == sorted(starts)
    assert UNTIL - timedelta(days=days) <= starts[0]
    assert starts[-1] < UNTIL
    if traces >= 50:
        assert starts[-1] - starts[0] > timedelta(days=days * 0.8)


def test_ids_are_unique(many):
    assert len({trace.id for trace in many}) == len(many)
    spans = [span.id for trace in many for span in trace.spans]
    assert len(set(spans)) == len(spans)


def test_trace_has_one_root_and_spans_lie_within_their_parents(many):
    for trace in many:
        by_id = {span.id: span for span in trace.spans}
        roots = [span for span in trace.spans if span.parent_id is None]
        assert [root.kind for root in roots] == [SpanKind.AGENT] * bool(trace.spans)
        for span in trace.spans:
            assert trace.started_at <= span.started_at
            if span.parent_id is not None:
                parent = by_id[span.parent_id]
                assert parent.started_at <= span.started_at
                assert parent.ended_at is None or span.ended_at <= parent.ended_at


def test_payloads_are_json_of_about_two_kilobytes_a_span(many):
    sizes = []
    for trace in many:
        for text in (trace.input, trace.output, trace.metadata):
            assert text is None or json.loads(text)
        for span in trace.spans:
            texts = (span.input, span.output, span.metadata, span.token_usage)
            present = [text for text in (*texts, span.model_parameters) if text is not None]
            assert all(json.loads(text) is not None for text in present)
            sizes.append(sum(map(len, present)))
    assert 1_500 < statistics.mean(sizes) < 3_000


def test_traces_have_ten_spans_in_the_mean(many):
    counts = [len(trace.spans) for trace in many if trace.status is not TraceStatus.PENDING]
    assert (min(counts), max(counts)) >= (3, 25)
    assert max(counts) <= 30
    assert 8 < statistics.mean(counts) < 12


def test_shares_of_statuses_are_realistic(many):
    def share(chosen: Counter, *values) -> float:
        return sum(chosen[value] for value in values) / chosen.total()

    status = Counter(trace.status for trace in many)
    environment = Counter(trace.environment for trace in many)
    failed = Counter(any(s.status is SpanStatus.ERROR for s in trace.spans) for trace in many)
    assert 0.03 < share(status, TraceStatus.ERROR) < 0.07
    assert 0.003 < share(status, TraceStatus.RUNNING, TraceStatus.PENDING) < 0.02
    assert share(failed, True) > share(status, TraceStatus.ERROR)
    assert 0.7 < share(environment, "production") < 0.9
    assert environment.keys() == {"production", "staging", "development"}
    assert {trace.name for trace in many} == {agent.name for agent in scenarios.AGENTS}


def test_failed_spans_have_errors_and_running_ones_no_end(many):
    for trace in many:
        for span in trace.spans:
            assert (span.error is not None) == (span.status is SpanStatus.ERROR)
            assert (span.ended_at is None) == (span.status is SpanStatus.UNSET)
        unfinished = trace.status in {TraceStatus.RUNNING, TraceStatus.PENDING}
        assert (trace.ended_at is None) == unfinished
        assert (trace.output is None) == (trace.status is not TraceStatus.COMPLETED)


def test_session_has_one_user_and_users_a_long_tail(many):
    sessions: dict[str, list[Trace]] = {}
    for trace in many:
        if trace.session_id is not None:
            sessions.setdefault(trace.session_id, []).append(trace)
    lengths = Counter(map(len, sessions.values()))
    users = Counter(trace.user_id for trace in many if trace.user_id is not None)
    assert 0.65 < sum(map(len, sessions.values())) / len(many) < 0.75
    assert (min(lengths), max(lengths)) == (1, 8)
    assert all(len({trace.user_id for trace in some}) == 1 for some in sessions.values())
    assert 100 < len(users) <= 150
    assert users.most_common(1)[0][1] > 5 * statistics.mean(users.values())


def test_releases_follow_each_other(many):
    first_seen = list(dict.fromkeys(t.release for t in many if t.environment == "production"))
    assert first_seen == [f"2.{minor}.0" for minor in range(12)]


def test_some_spans_have_costs_and_price_table_covers_the_others(many):
    calls = [span for trace in many for span in trace.spans if span.token_usage is not None]
    models = {span.model for span in calls}
    assert 0.2 < sum(span.cost is not None for span in calls) / len(calls) < 0.8
    assert all(min(span.cost.values()) >= 0 for span in calls if span.cost is not None)
    book = GenaiPriceBook()
    unknown = {m for m in models if book.price(m, Usage(1_000, 10, True), UNTIL) is None}
    assert unknown == {scenarios.IN_HOUSE_MODEL}


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--traces", "0"],
        ["--traces", "10000001"],
        ["--traces", "many"],
        ["--traces", "1e3"],
        ["--traces", "5", "--days", "0"],
        ["--traces", "5", "--seed", "-1"],
        ["--traces", "5", "--until", "yesterday"],
        ["--traces", "5", "--until", "0001-01-01"],
    ],
)
def test_invalid_seed_options_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(["seed", *arguments], {})
    assert end.value.code == 2
    assert "usage: pandaprobe-server seed" in capsys.readouterr().err


def test_seed_without_running_dev_needs_servers(tmp_path, capsys):
    assert main(["seed", "--traces", "5"], {"PANDAPROBE_DATA_DIR": str(tmp_path)}) == 1
    assert "PANDAPROBE_DATABASE_URL" in capsys.readouterr().err


def test_project_name_is_checked_before_connecting():
    environ = {
        "PANDAPROBE_DATABASE_URL": "postgresql://127.0.0.1:1/d",
        "PANDAPROBE_REDIS_URL": "redis://127.0.0.1:1",
    }
    refused = run_command(environ, "seed", "--traces", "5", "--project", "a/b")
    assert refused.returncode == 1
    assert "--project must be 1 to 255 characters" in refused.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T09:00:00Z", datetime(2026, 3, 1, 9, tzinfo=UTC)),
        ("2026-03-01T09:00+02:00", datetime(2026, 3, 1, 7, tzinfo=UTC)),
    ],
)
def test_instant_without_offset_is_utc(text, expected):
    assert instant(text) == expected
    assert instant(text).tzinfo is UTC


def test_default_end_is_the_current_hour():
    age = datetime.now(UTC) - seed.this_hour()
    assert timedelta(0) <= age < timedelta(hours=1, minutes=1)
    assert seed.this_hour().minute == seed.this_hour().microsecond == 0


# --- storing ---------------------------------------------------------------------------------


@dataclass
class Store:
    """A store whose first calls raise `failures`, one each."""

    failures: list[Exception] = field(default_factory=list)
    put_ids: list[uuid.UUID] = field(default_factory=list)

    async def put(self, project, trace):
        assert project == OURS
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.put_ids.append(trace.id)


def seeder(store: Store, traces: int) -> seed.Seeder:
    return seed.Seeder(
        IngestBatch(store),
        OURS,
        itertools.batched(synthetic_traces(recipe(traces)), seed.BATCH_TRACES),
        UNTIL,
        Progress(traces, io.StringIO()),
    )


def given_until(message: str) -> datetime:
    """The end of the period that a message names: an hour later the default is another one."""
    return instant(re.search(r"--until (\S+)", message)[1])


def unavailable(count: int) -> list[Exception]:
    return [Unavailable("The database cannot be reached", retry_after_s=0) for _ in range(count)]


async def test_everything_is_stored_and_counted(capsys):
    store = Store()
    run = seeder(store, 300)
    await run.run()
    expected = list(synthetic_traces(recipe(300)))
    assert run.report("demo") == 0
    assert sorted(store.put_ids) == sorted(trace.id for trace in expected)
    output = capsys.readouterr().out
    spans = sum(len(trace.spans) for trace in expected)
    assert output.startswith(f"300 traces with {spans:,} spans stored in project demo in ")
    assert output.endswith(" traces/s\n")


async def test_seed_waits_for_an_unavailable_store():
    store = Store(unavailable(3 * seed.BATCH_TRACES))
    run = seeder(store, 300)
    await run.run()
    assert run.report("demo") == 0
    assert len(set(store.put_ids)) == 300


@pytest.mark.slow
async def test_seed_fails_with_a_count_if_the_store_stays_down():
    run = seeder(Store(unavailable(10_000)), 300)
    await run.run()
    with pytest.raises(
        CommandError, match=r"cannot be reached \(0 of 300 traces are stored"
    ) as reported:
        run.report("demo")
    assert given_until(str(reported.value)) == UNTIL


async def test_refused_trace_ends_the_seed():
    run = seeder(Store([Invalid("can't be stored")]), 300)
    await run.run()
    assert run.progress.done <= 300 - seed.BATCH_TRACES
    with pytest.raises(CommandError, match="can't be stored"):
        run.report("demo")


async def test_stop_finishes_started_batches_and_prints_count(capsys):
    store = Store()
    run = seeder(store, 1_000)
    task = asyncio.create_task(run.run())
    await until(lambda: run.progress.done)
    run.stopping.set()
    await task
    assert run.report("demo") == seed.INTERRUPTED_STATUS
    assert 0 < run.progress.done == len(store.put_ids) < 1_000
    output = capsys.readouterr().out
    assert f"stopped: {run.progress.done:,} of 1,000 traces" in output
    assert given_until(output) == UNTIL


async def test_stop_does_not_wait_for_an_unavailable_store():
    failures = [Unavailable("unreachable", retry_after_s=3_600) for _ in range(1_000)]
    run = seeder(Store(failures), 1_000)
    task = asyncio.create_task(run.run())
    await until(lambda: len(failures) < 1_000)
    assert not task.done()
    run.stopping.set()
    await asyncio.wait_for(task, WAIT_MAX_S)
    assert run.report("demo") == seed.INTERRUPTED_STATUS


# --- progress --------------------------------------------------------------------------------


@pytest.fixture
def terminal_size(monkeypatch):
    """Set a terminal of 80 columns, independent of the environment of the tests."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


SHOW_CURSOR = "\x1b[?25h"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_log_gets_line_every_few_seconds(terminal_size):
    now = [0.0]
    stream = io.StringIO()
    with Progress(10_000, stream, clock=lambda: now[0]) as progress:
        for second in range(1, 13):
            now[0] = float(second)
            progress.advance(500)
    assert [line.split() for line in stream.getvalue().splitlines()] == [
        ["2500/10000", "25%", "500/s", "0:00:15"],
        ["5000/10000", "50%", "500/s", "0:00:10"],
        ["6000/10000", "60%", "500/s", "0:00:08"],
    ]


def test_log_without_total_has_no_percentage(terminal_size):
    stream = io.StringIO()
    with Progress(None, stream, clock=lambda: 0.0) as progress:
        progress.advance(7)
    assert stream.getvalue().split() == ["7/?"]


def test_terminal_shows_a_progress_bar(terminal_size):
    now = [0.0]
    stream = Terminal()
    with Progress(8_000, stream, clock=lambda: now[0]) as progress:
        for second in range(1, 11):
            now[0] = float(second)
            progress.advance(400)
    drawn = [Text.from_ansi(line).plain for line in stream.getvalue().split("\r")]
    assert drawn[-1].startswith("━")
    assert drawn[-1].split()[1:] == ["4000/8000", "50%", "400/s", "0:00:10"]
    assert stream.getvalue().endswith(f"\n{SHOW_CURSOR}")


def test_failed_command_restores_the_cursor(terminal_size):
    stream = Terminal()
    with pytest.raises(CommandError), Progress(10, stream):
        raise CommandError("unreachable")
    assert stream.getvalue().endswith(SHOW_CURSOR)
