"""Monitors: created, changed, paused, triggered, scheduled, deleted."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from application.jobs import PlanRunJob
from domain.evaluation.monitors.monitor import SETTLE_DELAY
from domain.identity.audit import AuditAction
from domain.ids import ProjectId, RunId
from tests.http.conftest import Site, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.runs import RUNS, RunningProject

MONITORS = "/evaluations/monitors"
NOBODY = str(uuid.UUID(int=1))
OF_TRACES = {
    "name": "nightly",
    "target_type": "TRACE",
    "metrics": ["trace_success"],
    "cadence": "every_6h",
}
OF_SESSIONS = OF_TRACES | {"target_type": "SESSION", "metrics": ["agent_reliability"]}
FIELDS = [
    *("id", "project_id", "name", "target_type", "metric_names", "filters", "sampling_rate"),
    *(
        "model",
        "votes",
        "max_cost_usd",
        "cadence",
        "only_if_changed",
        "settled_only",
        "status",
        "last_run_at",
        "last_run_id",
    ),
    *("next_run_at", "empty_slots", "created_at", "updated_at"),
]


@pytest.fixture
async def shop(either: Site) -> RunningProject:
    """A project with one trace; the clock shows noon."""
    made = await RunningProject.over(either)
    either.now = NOON
    return made


async def monitors(
    shop: RunningProject, order: dict[str, Any] = OF_TRACES, **overrides: Any
) -> Any:
    made = await shop("POST", MONITORS, order | overrides)
    assert made.status_code == 201, made.text
    return made.json()


async def read(shop: RunningProject, monitor: Any) -> Any:
    return await shop.read(f"{MONITORS}/{monitor['id']}")


async def does(shop: RunningProject, monitor: Any, verb: str, status: int = 200) -> Any:
    answer = await shop("POST", f"{MONITORS}/{monitor['id']}/{verb}")
    assert answer.status_code == status, answer.text
    return answer.json()


async def changes(shop: RunningProject, monitor: Any, **overrides: Any) -> Any:
    answer = await shop("PATCH", f"{MONITORS}/{monitor['id']}", overrides)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestCadence:
    async def test_next_instants_are_those_at_which_a_monitor_runs(
        self, shop: RunningProject
    ) -> None:
        seen = await shop.read(f"{MONITORS}/cadence?cadence=cron:0 6 * * mon&count=2")
        assert seen == {
            "cadence": "cron:0 6 * * mon",
            "runs_at": ["2026-03-02T06:00:00+00:00", "2026-03-09T06:00:00+00:00"],
        }
        made = await monitors(shop, cadence=seen["cadence"])
        assert made["next_run_at"] == seen["runs_at"][0]
        by_hours = await shop.read(f"{MONITORS}/cadence?cadence=every_6h")
        assert len(by_hours["runs_at"]) == 5
        assert by_hours["runs_at"][0] == "2026-03-01T18:00:00+00:00"

    @pytest.mark.parametrize(
        ("cadence", "why"),
        [
            ("hourly", "must be one of"),
            ("cron:*/2 * * * *", "at least 5 minutes"),
            ("cron:0 0 31 2 *", "never comes"),
            ("cron:0 25 * * *", "hour"),
            ("cron:0 0", "five fields"),
        ],
    )
    async def test_invalid_cadence_says_why(
        self, shop: RunningProject, cadence: str, why: str
    ) -> None:
        answer = await shop("GET", f"{MONITORS}/cadence?cadence={cadence}")
        assert answer.status_code == 422
        assert why in answer.text

    async def test_count_is_bounded(self, shop: RunningProject) -> None:
        for count in (0, 21):
            answer = await shop("GET", f"{MONITORS}/cadence?cadence=daily&count={count}")
            assert answer.status_code == 422, count


class TestMaking:
    async def test_created_monitor_is_returned_and_does_not_run_yet(
        self, shop: RunningProject
    ) -> None:
        filters = {"date_from": "2026-03-01", "status": "COMPLETED", "tags": None}
        made = await monitors(shop, filters=filters, cadence="cron: 0 6 * * mon")
        [project] = shop.site.store.projects
        assert list(made) == FIELDS
        assert made == {
            "id": made["id"],
            "project_id": str(project),
            "name": "nightly",
            "target_type": "TRACE",
            "metric_names": ["trace_success"],
            "filters": {"date_from": "2026-03-01", "status": "COMPLETED"},
            "sampling_rate": 1.0,
            "model": None,
            "votes": 1,
            "max_cost_usd": None,
            "cadence": "cron:0 6 * * mon",
            "only_if_changed": True,
            "settled_only": True,
            "status": "ACTIVE",
            "last_run_at": None,
            "last_run_id": None,
            "next_run_at": "2026-03-02T06:00:00+00:00",
            "empty_slots": 0,
            "created_at": "2026-03-01T12:00:00+00:00",
            "updated_at": "2026-03-01T12:00:00+00:00",
        }
        assert await read(shop, made) == made
        assert shop.take_jobs() == []

    @pytest.mark.parametrize(
        ("cadence", "due"),
        [
            ("every_6h", "2026-03-01T18:00:00+00:00"),
            ("daily", "2026-03-02T12:00:00+00:00"),
            ("weekly", "2026-03-08T12:00:00+00:00"),
            ("cron:*/5 * * * *", "2026-03-01T12:05:00+00:00"),
        ],
    )
    async def test_next_run_follows_the_cadence_from_now(
        self, shop: RunningProject, cadence: str, due: str
    ) -> None:
        made = await monitors(shop, cadence=cadence)
        assert (made["cadence"], made["next_run_at"]) == (cadence, due)

    async def test_optional_fields_may_be_null(self, shop: RunningProject) -> None:
        made = await monitors(shop, filters=None, model=None, signal_weights=None)
        assert (made["filters"], made["model"]) == ({}, None)

    async def test_settled_only_is_stored(self, shop: RunningProject) -> None:
        made = await monitors(shop, settled_only=False)
        assert (made["settled_only"], await read(shop, made)) == (False, made)

    async def test_model_is_returned_as_given(self, shop: RunningProject) -> None:
        assert (await monitors(shop, model="gpt-5-mini"))["model"] == "gpt-5-mini"

    async def test_weights_are_returned_within_the_filters(self, shop: RunningProject) -> None:
        said = {"filters": {"min_trace_count": 3}, "signal_weights": {"loop_detection": 1.5}}
        made = await monitors(shop, OF_SESSIONS, **said)
        assert made["filters"] == {
            "min_trace_count": 3,
            "signal_weights": {"loop_detection": 1.5},
        }
        assert (await monitors(shop, signal_weights={}))["filters"] == {}

    @pytest.mark.parametrize(
        ("said", "fields"),
        [
            ({"name": "", "cadence": "hourly"}, {"name", "cadence"}),
            ({"name": "x" * 256, "cadence": "cron:" + "0" * 50}, {"name", "cadence"}),
            ({"name": None, "metrics": [], "cadence": None}, {"name", "metrics", "cadence"}),
            ({"target_type": "trace"}, {"target_type"}),
            ({"metrics": ["agent_reliability", "coherence", "x"]}, {"metrics.0", "metrics.2"}),
            ({"metrics": ["nothing", "coherence", "x"]}, {"metrics.0", "metrics.2"}),
            (
                {"metrics": ["x"], "filters": {"date_from": "soon", "status": "DONE"}},
                {"metrics.0", "filters.date_from", "filters.status"},
            ),
            ({"filters": {"tags": ["x" * 256], "name": "\0"}}, {"filters.tags.0", "filters.name"}),
            ({"filters": []}, {"filters"}),
            ({"filters": "all"}, {"filters"}),
            ({"sampling_rate": 1.5, "model": ""}, {"sampling_rate", "model"}),
            (
                {"only_if_changed": None, "settled_only": None, "sampling_rate": None},
                {"only_if_changed", "settled_only", "sampling_rate"},
            ),
            ({"signal_weights": {"confidence": 1}}, {"signal_weights"}),
            ({"signal_weights": {"confidence": "x"}}, {"signal_weights.confidence"}),
            ({"name": "a\r\nb"}, {"name"}),
            ({"name": "a\u2066b"}, {"name"}),
            ({"cadence": "@daily"}, {"cadence"}),
            ({"cadence": "cron:0 0 30 2 *"}, {"cadence"}),
            ({"cadence": "cron:* * * * *"}, {"cadence"}),
            ({"cadence": "cron:0 0 0 * * *"}, {"cadence"}),
            ({"votes": 2, "max_cost_usd": 1e-7}, {"votes", "max_cost_usd"}),
            ({"max_cost_usd": 1, "model": "openai/nobody-knows"}, {"max_cost_usd"}),
        ],
    )
    async def test_all_field_errors_are_reported_together(
        self, shop: RunningProject, said: dict[str, Any], fields: set[str]
    ) -> None:
        refused = await shop("POST", MONITORS, OF_TRACES | said)
        assert set(field_errors(refused)) == fields
        assert (await shop.read(MONITORS))["total"] == 0

    @pytest.mark.parametrize(
        ("said", "fields"),
        [
            ({"metrics": ["coherence"]}, {"metrics.0"}),
            (
                {"filters": {"min_trace_count": 0, "has_error": "yes"}},
                {"filters.min_trace_count", "filters.has_error"},
            ),
            ({"signal_weights": {"confidence": -1}}, {"signal_weights.confidence"}),
        ],
    )
    async def test_session_monitors_have_other_rules(
        self, shop: RunningProject, said: dict[str, Any], fields: set[str]
    ) -> None:
        refused = await shop("POST", MONITORS, OF_SESSIONS | said)
        assert set(field_errors(refused)) == fields

    async def test_required_fields_are_named(self, shop: RunningProject) -> None:
        refused = await shop("POST", MONITORS, {})
        assert set(field_errors(refused)) == {"name", "target_type", "metrics", "cadence"}

    async def test_repeated_request_creates_one_monitor(self, shop: RunningProject) -> None:
        key = {"idempotency_key": uuid.uuid4().hex}
        first = await shop("POST", MONITORS, OF_TRACES, **key)
        again = await shop("POST", MONITORS, OF_TRACES, **key)
        assert (again.status_code, again.json()) == (201, first.json())
        other = await shop("POST", MONITORS, OF_TRACES | {"name": "other"}, **key)
        assert other.status_code == 409
        assert (await shop.read(MONITORS))["total"] == 1
        await monitors(shop)
        assert (await shop.read(MONITORS))["total"] == 2


class TestLists:
    async def test_pages_are_sorted_newest_first(self, shop: RunningProject) -> None:
        made = []
        for n in range(5):
            shop.site.now = NOON + timedelta(seconds=n)
            made.append((await monitors(shop, name=f"m{n}"))["id"])
        whole = await shop.read(MONITORS)
        assert [one["id"] for one in whole["items"]] == made[::-1]
        walked: list[str] = []
        path = f"{MONITORS}?limit=2"
        while True:
            page = await shop.read(path)
            assert page["total"] == 5
            walked += [one["id"] for one in page["items"]]
            if page["next_cursor"] is None:
                break
            path = f"{MONITORS}?limit=2&cursor={page['next_cursor']}"
        assert walked == made[::-1]
        beyond = await shop.read(f"{MONITORS}?offset=9&limit=200")
        assert (beyond["items"], beyond["total"]) == ([], 5)

    async def test_list_is_filtered_by_status(self, shop: RunningProject) -> None:
        paused, active = await monitors(shop), await monitors(shop)
        await does(shop, paused, "pause")
        for status, one in (("PAUSED", paused), ("ACTIVE", active)):
            page = await shop.read(f"{MONITORS}?status={status}")
            assert ([item["id"] for item in page["items"]], page["total"]) == ([one["id"]], 1)

    async def test_invalid_query_parameters_are_named(self, shop: RunningProject) -> None:
        page = await shop.read(f"{MONITORS}?limit=1")
        await monitors(shop)
        await monitors(shop)
        cursor = (await shop.read(f"{MONITORS}?limit=1"))["next_cursor"]
        assert page["next_cursor"] is None
        refused = await shop("GET", f"{MONITORS}?limit=201&offset=-1&status=active")
        assert set(field_errors(refused)) == {"query.limit", "query.offset", "query.status"}
        for query in (f"status=ACTIVE&cursor={cursor}", f"offset=1&cursor={cursor}", "cursor=x"):
            assert set(field_errors(await shop("GET", f"{MONITORS}?{query}"))) == {"query.cursor"}
        one = (await shop.read(MONITORS))["items"][0]
        refused = await shop("GET", f"{MONITORS}/{one['id']}/runs?cursor={cursor}")
        assert set(field_errors(refused)) == {"query.cursor"}


class TestChanging:
    async def test_only_given_fields_change(self, shop: RunningProject) -> None:
        said = {"filters": {"user_id": "u"}, "model": "gpt-5", "sampling_rate": 0.5}
        made = await monitors(shop, **said)
        shop.site.now = NOON + timedelta(hours=1)
        assert await changes(shop, made) == made
        refused = await shop("PATCH", f"{MONITORS}/{made['id']}", {"target_type": "SESSION"})
        assert set(field_errors(refused)) == {"target_type"}
        renamed = await changes(shop, made, name="other")
        assert renamed == made | {"name": "other", "updated_at": "2026-03-01T13:00:00+00:00"}
        for one, shown in (
            ({"metrics": ["coherence", "coherence"]}, {"metric_names": ["coherence"]}),
            ({"filters": {"name": "x"}}, {"filters": {"name": "x"}}),
            ({"sampling_rate": 0}, {"sampling_rate": 0.0}),
            ({"model": "o3-pro"}, {"model": "o3-pro"}),
            ({"only_if_changed": False}, {"only_if_changed": False}),
            ({"settled_only": False}, {"settled_only": False}),
            ({"votes": 3}, {"votes": 3}),
            ({"model": "gpt-4o", "max_cost_usd": 0.25}, {"model": "gpt-4o", "max_cost_usd": 0.25}),
            ({"max_cost_usd": None}, {"max_cost_usd": None}),
            (
                {"cadence": "cron:  0 0 * * *"},
                {"cadence": "cron:0 0 * * *", "next_run_at": "2026-03-02T00:00:00+00:00"},
            ),
        ):
            renamed |= shown
            assert await changes(shop, made, **one) == renamed
        assert await read(shop, made) == renamed
        logged = [
            one.detail["fields"]
            for one in shop.site.store.audit_log.values()
            if one.action is AuditAction.MONITOR_CHANGED
        ]
        if not shop.site.swapped:  # else the log is in the database
            assert logged[-2:] == ["max_cost_usd", "cadence"]

    async def test_null_clears_optional_fields(self, shop: RunningProject) -> None:
        said = {"filters": {"user_id": "u"}, "signal_weights": {"confidence": 0.5}}
        made = await monitors(shop, OF_SESSIONS, model="gpt-5", **said)
        weights = {"signal_weights": {"confidence": 0.5}}
        assert (await changes(shop, made, filters=None))["filters"] == weights
        assert (await changes(shop, made, filters={"has_error": True}))["filters"] == (
            {"has_error": True} | weights
        )
        assert (await changes(shop, made, metrics=None))["metric_names"] == ["agent_reliability"]
        assert (await changes(shop, made, model=None))["model"] is None
        changed = await changes(shop, made, signal_weights={"coherence": 2})
        assert changed["filters"] == {"has_error": True, "signal_weights": {"coherence": 2.0}}
        for nothing in (None, {}):
            assert (await changes(shop, made, signal_weights=nothing))["filters"] == {
                "has_error": True
            }
            await changes(shop, made, signal_weights={"coherence": 2})
        assert (await changes(shop, made, filters=None, signal_weights=None))["filters"] == {}

    @pytest.mark.parametrize(
        ("said", "fields"),
        [
            (
                dict.fromkeys(
                    ("name", "sampling_rate", "cadence", "only_if_changed", "settled_only")
                ),
                {"name", "sampling_rate", "cadence", "only_if_changed", "settled_only"},
            ),
            ({"metrics": []}, {"metrics"}),
            ({"metrics": ["nothing", "loop_detection"]}, {"metrics.0", "metrics.1"}),
            ({"name": "", "model": ""}, {"name", "model"}),
            ({"cadence": "hourly", "sampling_rate": -1}, {"cadence", "sampling_rate"}),
            (
                {"metrics": ["agent_reliability"], "filters": {"date_to": "soon"}},
                {"metrics.0", "filters.date_to"},
            ),
            ({"filters": {"status": "DONE"}, "signal_weights": {"a": 1}},
             {"filters.status", "signal_weights"}),
            ({"filters": 5}, {"filters"}),
            ({"votes": 4, "max_cost_usd": -1}, {"votes", "max_cost_usd"}),
            ({"votes": None}, {"votes"}),
            ({"max_cost_usd": 1, "model": "openai/nobody-knows"}, {"max_cost_usd"}),
        ],
    )  # fmt: skip
    async def test_invalid_changes_are_refused(
        self, shop: RunningProject, said: dict[str, Any], fields: set[str]
    ) -> None:
        made = await monitors(shop)
        refused = await shop("PATCH", f"{MONITORS}/{made['id']}", said)
        assert set(field_errors(refused)) == fields
        assert await read(shop, made) == made

    async def test_changed_cadence_counts_from_now_even_if_paused(
        self, shop: RunningProject
    ) -> None:
        made = await monitors(shop)
        await does(shop, made, "pause")
        changed = await changes(shop, made, cadence="daily")
        assert (changed["status"], changed["next_run_at"]) == (
            "PAUSED",
            "2026-03-02T12:00:00+00:00",
        )

    async def test_pause_and_resume(self, shop: RunningProject) -> None:
        made = await monitors(shop)
        assert await does(shop, made, "resume") == made
        shop.site.now = NOON + timedelta(hours=1)
        paused = await does(shop, made, "pause")
        assert (paused["status"], paused["next_run_at"]) == ("PAUSED", None)
        shop.site.now = NOON + timedelta(hours=2)
        assert await does(shop, made, "pause") == paused
        resumed = await does(shop, made, "resume")
        assert (resumed["status"], resumed["next_run_at"]) == (
            "ACTIVE",
            "2026-03-01T20:00:00+00:00",
        )


class TestRunning:
    async def test_due_slot_starts_a_run(self, shop: RunningProject) -> None:
        made = await monitors(shop, only_if_changed=False)
        shop.site.now = NOON + timedelta(hours=6)
        assert await shop.do.run_due_monitors() >= 1
        page = await shop.read(f"{MONITORS}/{made['id']}/runs")
        [run] = page["items"]
        assert (page["total"], page["limit"], page["next_cursor"]) == (1, 50, None)
        assert (run["name"], run["monitor_id"], run["total_targets"]) == (
            "[Monitor] nightly",
            made["id"],
            1,
        )
        fired = await read(shop, made)
        assert fired == made | {
            "last_run_at": "2026-03-01T18:00:00+00:00",
            "last_run_id": run["id"],
            "next_run_at": "2026-03-02T00:00:00+00:00",
        }
        await shop.run_jobs()
        assert (await shop.run(run))["status"] == "COMPLETED"

    async def test_slots_whose_filters_match_nothing_are_counted(
        self, shop: RunningProject
    ) -> None:
        made = await monitors(shop, filters={"environment": "prodcution"})
        for slot, counted in ((6, 1), (12, 2)):
            shop.site.now = NOON + timedelta(hours=slot)
            assert await shop.do.run_due_monitors() >= 1
            assert (await read(shop, made))["empty_slots"] == counted
        assert (await shop.read(f"{MONITORS}/{made['id']}/runs"))["total"] == 0

    async def test_traces_that_are_scored_later_are_evaluated_once(
        self, shop: RunningProject
    ) -> None:
        """As docs/evaluation/monitors.md says for filters by scores."""
        scored_later = await shop.store_trace()
        filters = {"score": "helpful", "not_score": ["trace_success"]}
        made = await monitors(shop, only_if_changed=False, filters=filters)
        evaluated = []
        for slot, trace in enumerate([shop.trace, scored_later, None], start=1):
            if trace is not None:
                score = {"trace_id": trace, "name": "helpful", "value": "0.2"}
                await shop("POST", "/evaluations/trace-scores", score)
            shop.site.now = NOON + timedelta(hours=6 * slot)
            await shop.do.run_due_monitors()
            await shop.run_jobs()
            runs = (await shop.read(f"{MONITORS}/{made['id']}/runs"))["items"]
            evaluated.append([await shop.scores(one) for one in runs])
        assert [[one["trace_id"] for run in runs for one in run] for runs in evaluated] == [
            [shop.trace], [scored_later, shop.trace], [scored_later, shop.trace],
        ]  # fmt: skip

    @pytest.mark.parametrize("paused", [False, True])
    async def test_trigger_starts_a_run_now(self, shop: RunningProject, paused: bool) -> None:
        made = await monitors(shop, sampling_rate=0)
        if paused:
            await does(shop, made, "pause")
        shop.site.now = NOON + SETTLE_DELAY
        run = await does(shop, made, "trigger", 202)
        assert (run["name"], run["monitor_id"]) == ("[Monitor] nightly", made["id"])
        assert (run["total_targets"], run["status"], run["model"]) == (1, "PENDING", "heuristic/1")
        assert await shop.run(run) == run
        project = ProjectId(uuid.UUID(made["project_id"]))
        assert shop.take_jobs() == [PlanRunJob(project, RunId(uuid.UUID(run["id"])))]
        known = await read(shop, made)
        assert known["status"] == ("PAUSED" if paused else "ACTIVE")
        assert (known["last_run_at"], known["last_run_id"], known["next_run_at"]) == (
            "2026-03-01T12:00:05+00:00",
            run["id"],
            "2026-03-01T18:00:05+00:00",
        )

    async def test_repeated_trigger_starts_one_run(self, shop: RunningProject) -> None:
        made = await monitors(shop)
        key = {"idempotency_key": uuid.uuid4().hex}
        path = f"{MONITORS}/{made['id']}/trigger"
        first, again = [await shop("POST", path, **key) for _ in range(2)]
        assert first.json() == again.json()
        other = await monitors(shop)
        refused = await shop("POST", f"{MONITORS}/{other['id']}/trigger", **key)
        assert refused.status_code == 409
        await does(shop, made, "trigger", 202)
        assert (await shop.read(f"{MONITORS}/{made['id']}/runs"))["total"] == 2

    async def test_trigger_without_matches_is_422(self, shop: RunningProject) -> None:
        made = await monitors(shop, filters={"user_id": "nobody"})
        refused = await shop("POST", f"{MONITORS}/{made['id']}/trigger")
        assert refused.status_code == 422
        assert refused.json()["errors"]
        assert await read(shop, made) == made
        assert (await shop.read(RUNS))["total"] == 0

    async def test_session_monitor_can_be_triggered(self, shop: RunningProject) -> None:
        said = {"filters": {"min_trace_count": 1}, "signal_weights": {"confidence": 0.5}}
        made = await monitors(shop, OF_SESSIONS, **said)
        run = await does(shop, made, "trigger", 202)
        assert (run["target_type"], run["total_targets"]) == ("SESSION", 1)
        assert run["filters"] == made["filters"]

    async def test_runs_are_listed_newest_first_and_survive_deletion(
        self, shop: RunningProject
    ) -> None:
        made = await monitors(shop)
        runs = []
        for n in range(3):
            shop.site.now = NOON + timedelta(seconds=n)
            runs.append((await does(shop, made, "trigger", 202))["id"])
        first = await shop.read(f"{MONITORS}/{made['id']}/runs?limit=2")
        cursor = first["next_cursor"]
        second = await shop.read(f"{MONITORS}/{made['id']}/runs?limit=2&cursor={cursor}")
        found = [one["id"] for one in first["items"] + second["items"]]
        assert (found, second["total"]) == (runs[::-1], 3)
        other = await monitors(shop)
        refused = await shop("GET", f"{MONITORS}/{other['id']}/runs?cursor={cursor}")
        assert set(field_errors(refused)) == {"query.cursor"}
        gone = await shop("DELETE", f"{MONITORS}/{made['id']}")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await shop.run({"id": runs[0]}))["monitor_id"] is None
        assert (await shop("DELETE", f"{MONITORS}/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/pause", None),
        ("POST", "/resume", None),
        ("POST", "/trigger", None),
        ("GET", "/runs", None),
    ],
)
async def test_unknown_and_foreign_monitors_are_404(
    shop: RunningProject, method: str, path: str, body: Any
) -> None:
    theirs = await RunningProject.over(shop.site)
    made = await monitors(theirs)
    before = await read(theirs, made)
    other = await shop(method, f"{MONITORS}/{made['id']}{path}", body)
    nowhere = await shop(method, f"{MONITORS}/{NOBODY}{path}", body)
    assert (other.status_code, nowhere.status_code) == (404, 404)
    assert other.json() == nowhere.json()
    assert await read(theirs, made) == before
    refused = await shop(method, f"{MONITORS}/x{path}", body)
    assert set(field_errors(refused)) == {"path.monitor_id"}
