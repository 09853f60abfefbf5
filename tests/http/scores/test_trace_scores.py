"""Scores of traces and spans: created, listed, changed, deleted."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from domain.evaluation.scores.score import (
    METADATA_BYTES_MAX,
    REVISION_METADATA_MAX,
    REVISIONS_MAX,
    SENT_REASON_MAX,
)
from domain.identity.api_key import Scope
from domain.identity.organization import Role
from tests.http.conftest import Site, a_span, a_trace, field_errors
from tests.support.builders.values import NOON
from tests.support.clients.scored_project import TRACES, ScoredProject

NOBODY = str(uuid.UUID(int=1))
TOO_LONG = {"k": "x" * METADATA_BYTES_MAX}
FIELDS = [
    *("id", "project_id", "name", "value", "data_type", "source", "status", "outcome"),
    *("eval_run_id", "author_user_id", "reason", "metadata", "created_at", "updated_at"),
    *("trace_id", "environment", "config_id", "span_id"),
]


@pytest.fixture
async def shop(either: Site) -> ScoredProject:
    return await ScoredProject.new(either)


class TestGiving:
    async def test_created_score_is_returned(self, shop: ScoredProject) -> None:
        shop.site.now = NOON
        said = {"reason": "é", "metadata": {"a": [1.0]}, "environment": "prod"}
        score = await shop.add_score(source="PROGRAMMATIC", **said)
        [project] = [one.id for one in shop.site.store.projects.values()]
        assert list(score) == FIELDS
        assert score == said | {
            "id": score["id"],
            "trace_id": shop.trace,
            "project_id": str(project),
            "name": "quality",
            "value": "0.5",
            "data_type": "NUMERIC",
            "source": "PROGRAMMATIC",
            "status": "SUCCESS",
            "outcome": "scored",
            "eval_run_id": None,
            "author_user_id": None,
            "config_id": None,
            "span_id": None,
            "created_at": "2026-03-01T12:00:00+00:00",
            "updated_at": "2026-03-01T12:00:00+00:00",
        }
        assert (await shop.read(f"{TRACES}/{shop.trace}")) == [score]
        assert (await shop.read(TRACES))["items"] == [score]

    async def test_only_runs_give_automated_scores(self, shop: ScoredProject) -> None:
        """A posted score neither stands in the place of a judge's, nor enters its mean."""
        shop.site.now = NOON
        judged = await shop.add_judged_score(value="0.8", metadata={"judge_kind": "heuristic"})
        shop.site.now = NOON + timedelta(minutes=1)
        forged = {"judge_kind": "model", "model": "best", "fingerprint": "f"}
        posted = await shop.add_score(value="1.0", source="AUTOMATED", metadata=forged)
        assert (posted["source"], posted["metadata"]) == ("PROGRAMMATIC", forged)
        of_session = await shop.add_session_score(source="AUTOMATED")
        assert of_session["source"] == "PROGRAMMATIC"
        latest = await shop.read(f"{TRACES}/{shop.trace}")
        assert [one["id"] for one in latest] == [judged, posted["id"]]
        [found] = await shop.read("/evaluations/analytics/trace-scores/summary")
        assert (found["avg_score"], found["judge_kind"]) == (0.8, "heuristic")
        assert (found["count"], found["left_out_count"]) == (1, 1)

    async def test_missing_fields_have_defaults(self, shop: ScoredProject) -> None:
        score = await shop.add_score(reason=None, environment=None)
        assert (score["data_type"], score["source"]) == ("NUMERIC", "ANNOTATION")
        assert (score["reason"], score["metadata"], score["environment"]) == (None, {}, None)

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            *(("NUMERIC", one) for one in ("0", "1", "1.0", ".5", "5e-1", "+0.25", "0.500")),
            *(("BOOLEAN", one) for one in ("true", "False", "TRUE")),
            *(("CATEGORICAL", one) for one in ("", "good", "7", "é" * 255)),
        ],
    )
    async def test_value_is_returned_as_given(
        self, shop: ScoredProject, kind: str, value: str
    ) -> None:
        assert (await shop.add_score(data_type=kind, value=value))["value"] == value

    @pytest.mark.parametrize(
        ("kind", "value"),
        [
            *(("NUMERIC", one) for one in ("", "1.01", "-0.1", " 0.5", "1_0", "nan", "inf", "٠")),
            *(("NUMERIC", one) for one in (0.5, 1, True, None, ["0.5"], "x" * 256)),
            *(("BOOLEAN", one) for one in ("", "yes", "1", True, " true")),
            *(("CATEGORICAL", one) for one in ("x" * 256, "a\0b", 5, None)),
        ],
    )
    async def test_value_must_match_its_type(
        self, shop: ScoredProject, kind: str, value: Any
    ) -> None:
        refused = await shop("POST", TRACES, shop.score(data_type=kind, value=value))
        assert set(field_errors(refused)) == {"value"}
        assert (await shop.read(TRACES))["total"] == 0

    @pytest.mark.parametrize(
        ("said", "fields"),
        [
            ({"name": "", "value": "2"}, {"name", "value"}),
            ({"name": "x" * 256, "environment": "x" * 256}, {"name", "environment"}),
            ({"name": "a\nb"}, {"name"}),
            ({"name": "a\u202eb"}, {"name"}),
            (
                {"name": "a\0", "reason": "a\0", "environment": "\0"},
                {"name", "reason", "environment"},
            ),
            (
                {"reason": "r" * (SENT_REASON_MAX + 1), "metadata": TOO_LONG},
                {"reason", "metadata"},
            ),
            ({"trace_id": "x", "source": "HUMAN"}, {"trace_id", "source"}),
            ({"trace_id": None}, {"trace_id"}),
            ({"data_type": "TEXT", "value": "2"}, {"data_type"}),
            ({"data_type": "BOOLEAN", "name": 1}, {"name", "value"}),
            ({"metadata": []}, {"metadata"}),
            ({"metadata": None}, {"metadata"}),
            ({"metadata": {"a": "\0"}}, {"metadata"}),
        ],
    )
    async def test_all_field_errors_are_reported_together(
        self, shop: ScoredProject, said: dict[str, Any], fields: set[str]
    ) -> None:
        assert set(field_errors(await shop("POST", TRACES, shop.score(**said)))) == fields

    async def test_longest_reason_and_metadata_are_kept(self, shop: ScoredProject) -> None:
        frame = len('{"k":""}')
        metadata = {"k": "x" * (METADATA_BYTES_MAX - frame)}
        given = await shop.add_score(reason="é" * SENT_REASON_MAX, metadata=metadata)
        assert (given["reason"], given["metadata"]) == ("é" * SENT_REASON_MAX, metadata)

    async def test_empty_body_names_all_required_fields(self, shop: ScoredProject) -> None:
        assert set(field_errors(await shop("POST", TRACES, {}))) == {"name", "value", "trace_id"}

    async def test_equal_scores_are_added_twice(self, shop: ScoredProject) -> None:
        first, second = await shop.add_score(), await shop.add_score()
        assert first["id"] != second["id"]
        assert (await shop.read(TRACES))["total"] == 2

    async def test_unknown_trace_is_404(self, shop: ScoredProject) -> None:
        assert (await shop("POST", TRACES, shop.score(trace_id=NOBODY))).status_code == 404
        other = await ScoredProject.new(shop.site)
        assert (await shop("POST", TRACES, shop.score(trace_id=other.trace))).status_code == 404

    async def test_deleting_the_trace_deletes_its_scores(self, shop: ScoredProject) -> None:
        await shop.add_score()
        assert (await shop("DELETE", f"/traces/{shop.trace}")).status_code == 204
        assert (await shop.read(TRACES))["total"] == 0
        assert await shop.read(f"{TRACES}/{shop.trace}") == []

    async def test_person_becomes_the_author(self, shop: ScoredProject) -> None:
        new_person, head = shop.person()
        given = await shop.site.http.post(TRACES, headers=head, json=shop.score())
        assert given.json()["author_user_id"] == str(new_person.id)


class TestSpans:
    async def test_score_of_span_never_stands_for_its_trace(self, shop: ScoredProject) -> None:
        trace, span, _ = await a_trace_with_spans(shop)
        shop.site.now = NOON
        of_trace = await shop.add_score(trace_id=trace, value="0.25")
        shop.site.now = NOON + timedelta(minutes=1)
        of_span = await shop.add_score(trace_id=trace, span_id=span, value="0.75")
        assert (of_trace["span_id"], of_span["span_id"]) == (None, span)
        assert await shop.read(f"{TRACES}/{trace}") == [of_trace]
        assert await shop.read(f"{TRACES}/{trace}?span_id={span}") == [of_span]
        assert (await shop.read(f"{TRACES}?name=quality"))["items"] == [of_trace]
        for query in (f"span_id={span}", "of_spans=true", f"trace_id={trace}&of_spans=1"):
            assert (await shop.read(f"{TRACES}?{query}"))["items"] == [of_span], query
        for target, mean in (("trace", 0.25), ("span", 0.75)):
            analytics = f"/evaluations/analytics/{target}-scores"
            [summary] = await shop.read(f"{analytics}/summary")
            assert (summary["avg_score"], summary["count"]) == (mean, 1)
            [point] = await shop.read(f"{analytics}/trend?metric_name=quality")
            assert (point["avg_score"], point["count"]) == (mean, 1)
            [part] = await shop.read(f"{analytics}/distribution?metric_name=quality&buckets=4")
            assert (part["bucket_min"], part["count"]) == (mean, 1)

    async def test_span_of_another_trace_or_project_is_404(self, shop: ScoredProject) -> None:
        trace, span, _ = await a_trace_with_spans(shop)
        other = await ScoredProject.new(shop.site)
        await other.store_trace(trace_id=trace)
        for by, on, of_span in (
            *((shop, shop.trace, span), (shop, trace, NOBODY), (shop, NOBODY, span)),
            *((other, trace, span), (other, other.trace, span)),
        ):
            refused = await by("POST", TRACES, by.score(trace_id=on, span_id=of_span))
            assert refused.status_code == 404, refused.text
            missing = "Trace" if on == NOBODY else "Span"
            assert refused.json() == {"detail": f"{missing} not found"}
        assert (await shop.read(f"{TRACES}?of_spans=true"))["total"] == 0
        score = await shop.add_score(trace_id=trace, span_id=span)
        for query in (f"span_id={span}", "of_spans=true"):
            assert (await other.read(f"{TRACES}?{query}"))["total"] == 0
        assert await other.read(f"{TRACES}/{trace}?span_id={span}") == []
        assert (await other("PATCH", f"{TRACES}/{score['id']}", {"value": "1"})).status_code == 404
        assert (await other("DELETE", f"{TRACES}/{score['id']}")).status_code == 404

    async def test_score_of_span_is_changed_and_deleted_by_id(self, shop: ScoredProject) -> None:
        trace, span, other = await a_trace_with_spans(shop)
        of_span = await shop.add_score(trace_id=trace, span_id=span)
        kept = await shop.add_score(trace_id=trace, span_id=other)
        path = f"{TRACES}/{of_span['id']}"
        changed = await shop("PATCH", path, {"value": "1"})
        assert (changed.json()["value"], changed.json()["span_id"]) == ("1", span)
        [revision] = await shop.read(f"{path}/history")
        assert (revision["before"]["value"], revision["after"]["value"]) == ("0.5", "1")
        assert (await shop("DELETE", path)).status_code == 204
        assert (await shop.read(f"{TRACES}?of_spans=true"))["items"] == [kept]
        assert (await shop("DELETE", f"/traces/{trace}")).status_code == 204
        assert (await shop.read(f"{TRACES}?of_spans=true"))["items"] == []

    async def test_repeated_request_stores_one_score(self, shop: ScoredProject) -> None:
        trace, span, other = await a_trace_with_spans(shop)
        body = shop.score(trace_id=trace, span_id=span)
        first, again = [await shop("POST", TRACES, body, idempotency_key="k") for _ in range(2)]
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        changed = await shop("POST", TRACES, body | {"span_id": other}, idempotency_key="k")
        assert changed.status_code == 409
        assert (await shop.read(f"{TRACES}?of_spans=true"))["total"] == 1

    async def test_invalid_ids_and_cursors_are_named(self, shop: ScoredProject) -> None:
        trace, span, _ = await a_trace_with_spans(shop)
        refused = await shop("POST", TRACES, shop.score(span_id="x", value="2"))
        assert set(field_errors(refused)) == {"span_id", "value"}
        for query in ("span_id=x&of_spans=maybe", "of_spans=maybe&span_id="):
            refused = await shop("GET", f"{TRACES}?{query}")
            assert set(field_errors(refused)) == {"query.span_id", "query.of_spans"}
        refused = await shop("GET", f"{TRACES}/{trace}?span_id=x")
        assert set(field_errors(refused)) == {"query.span_id"}
        for _ in range(2):
            await shop.add_score(trace_id=trace, span_id=span)
        cursor = (await shop.read(f"{TRACES}?limit=1&of_spans=true"))["next_cursor"]
        next_page = await shop.read(f"{TRACES}?limit=1&of_spans=true&cursor={cursor}")
        assert (len(next_page["items"]), next_page["next_cursor"]) == (1, None)
        refused = await shop("GET", f"{TRACES}?limit=1&cursor={cursor}")
        assert set(field_errors(refused)) == {"query.cursor"}


async def a_trace_with_spans(shop: ScoredProject) -> tuple[str, str, str]:
    """The ids of a new trace and of its two spans."""
    spans = [a_span(span_id=str(uuid.uuid4())) for _ in range(2)]
    trace = await shop.store_trace(spans=spans)
    return trace, spans[0]["span_id"], spans[1]["span_id"]


class TestLists:
    async def test_pages_are_newest_first_without_duplicates(self, shop: ScoredProject) -> None:
        made = []
        for minute in range(5):
            shop.site.now = NOON + timedelta(minutes=minute // 2)
            made.append((await shop.add_score())["id"])
        listed = [one["id"] for one in (await shop.read(TRACES))["items"]]
        assert sorted(listed) == sorted(made)
        assert listed[0] == made[4]
        assert set(listed[3:]) == set(made[:2])
        for way in ("offset", "cursor"):
            seen, more = [], ""
            while True:
                page = await shop.read(f"{TRACES}?limit=2{more}")
                assert (page["total"], page["limit"]) == (5, 2)
                seen += [one["id"] for one in page["items"]]
                if page["next_cursor"] is None:
                    break
                more = (
                    f"&cursor={page['next_cursor']}" if way == "cursor" else f"&offset={len(seen)}"
                )
            assert seen == listed

    async def test_each_filter_applies(self, shop: ScoredProject) -> None:
        other = await shop.store_trace()
        shop.site.now = NOON
        await shop.add_score(name="a", source="PROGRAMMATIC", environment="prod")
        shop.site.now = NOON + timedelta(hours=1)
        await shop.add_score(name="b", trace_id=other, data_type="BOOLEAN", value="true")
        for query in (
            f"trace_id={other}",
            f"trace_id={uuid.UUID(other).hex.upper()}",
            *("name=b", "source=ANNOTATION", "data_type=BOOLEAN", "status=SUCCESS&name=b"),
            *("outcome=scored&name=b", "date_from=2026-03-01T13:00:00Z"),
        ):
            assert [one["name"] for one in (await shop.read(f"{TRACES}?{query}"))["items"]] == ["b"]
        for query in ("environment=prod", "date_to=2026-03-01T13:00:00Z", "name=a"):
            assert [one["name"] for one in (await shop.read(f"{TRACES}?{query}"))["items"]] == ["a"]
        for query in (
            *("name=A", "name=", "environment=pro", "environment=", "status=FAILED"),
            *("status=PENDING", "outcome=skipped", "outcome=failed", "outcome=pending"),
            *(f"eval_run_id={NOBODY}", f"trace_id={NOBODY}", "date_from=2026-03-02", "offset=9"),
        ):
            assert (await shop.read(f"{TRACES}?{query}"))["items"] == [], query

    @pytest.mark.parametrize(
        ("query", "fields"),
        [
            ("limit=201&offset=-1", {"query.limit", "query.offset"}),
            ("limit=0&status=SKIPPED", {"query.limit", "query.status"}),
            (
                "source=x&data_type=x&outcome=x",
                {"query.source", "query.data_type", "query.outcome"},
            ),
            ("trace_id=x&eval_run_id=y", {"query.trace_id", "query.eval_run_id"}),
            ("date_from=never&date_to=2026-13-01", {"query.date_from", "query.date_to"}),
            ("cursor=x", {"query.cursor"}),
            ("name=%00&environment=%00", {"query.name", "query.environment"}),
        ],
    )
    async def test_invalid_filters_are_named(
        self, shop: ScoredProject, query: str, fields: set[str]
    ) -> None:
        assert set(field_errors(await shop("GET", f"{TRACES}?{query}"))) == fields

    async def test_cursor_of_other_filters_is_refused(self, shop: ScoredProject) -> None:
        await shop.add_score()
        await shop.add_score()
        cursor = (await shop.read(f"{TRACES}?limit=1"))["next_cursor"]
        for query in ("name=quality&", "offset=1&"):
            refused = await shop("GET", f"{TRACES}?{query}cursor={cursor}")
            assert set(field_errors(refused)) == {"query.cursor"}

    async def test_latest_score_of_each_name(self, shop: ScoredProject) -> None:
        for minute, name in enumerate("babc"):
            shop.site.now = NOON + timedelta(minutes=minute)
            await shop.add_score(name=name, value=f"0.{minute}")
        latest = await shop.read(f"{TRACES}/{shop.trace}")
        assert [(one["name"], one["value"]) for one in latest] == [
            *(("a", "0.1"), ("b", "0.2"), ("c", "0.3"))
        ]
        assert await shop.read(f"{TRACES}/{NOBODY}") == []
        assert set(field_errors(await shop("GET", f"{TRACES}/x"))) == {"path.trace_id"}


class TestChanging:
    async def test_changed_score_becomes_an_annotation(self, shop: ScoredProject) -> None:
        shop.site.now = NOON
        score = await shop.add_score(source="PROGRAMMATIC", metadata={"a": 1}, reason="r")
        shop.site.now = NOON + timedelta(minutes=1)
        changed = await shop("PATCH", f"{TRACES}/{score['id']}", {"value": "0.75"})
        assert changed.status_code == 200
        assert changed.json() == score | {
            "value": "0.75",
            "source": "ANNOTATION",
            "updated_at": "2026-03-01T12:01:00+00:00",
        }
        assert await shop.read(f"{TRACES}/{shop.trace}") == [changed.json()]

    async def test_metadata_is_replaced(self, shop: ScoredProject) -> None:
        score = await shop.add_score(metadata={"a": 1})
        changed = await shop("PATCH", f"{TRACES}/{score['id']}", {"metadata": {"b": 2}})
        assert changed.json()["metadata"] == {"b": 2}
        assert changed.json()["value"] == "0.5"

    @pytest.mark.parametrize("body", [{}, {"value": None, "reason": None, "metadata": None}])
    async def test_empty_change_changes_nothing(
        self, shop: ScoredProject, body: dict[str, None]
    ) -> None:
        shop.site.now = NOON
        score = await shop.add_score(source="PROGRAMMATIC")
        shop.site.now = NOON + timedelta(minutes=1)
        same = await shop("PATCH", f"{TRACES}/{score['id']}", body)
        assert (same.status_code, same.json()) == (200, score)

    async def test_original_value_is_kept(self, shop: ScoredProject) -> None:
        path = f"{TRACES}/{await shop.add_judged_score(metadata={'a': 1})}"
        first = (await shop("PATCH", path, {"value": "0.75"})).json()
        assert first["metadata"] == {"a": 1, "original_value": "0.5"}
        second = (await shop("PATCH", path, {"value": "1", "metadata": {"b": 2}})).json()
        assert second["metadata"] == {"b": 2, "original_value": "0.5"}

    async def test_person_becomes_the_author_and_no_key_writes_in_their_name(
        self, shop: ScoredProject
    ) -> None:
        score = await shop.add_score()
        path = f"{TRACES}/{score['id']}"
        assert (await shop("PATCH", path, {"value": "0.25"})).json()["author_user_id"] is None
        new_person, head = shop.person()
        by_person = await shop.site.http.patch(path, headers=head, json={"reason": "r"})
        assert by_person.json()["author_user_id"] == str(new_person.id)
        _, other = shop.person("eve@example.com")
        for refused in (
            await shop("PATCH", path, {"value": "1"}),
            await shop("DELETE", path),
            await shop.site.http.patch(path, headers=other, json={"value": "1"}),
            await shop.site.http.delete(path, headers=other),
        ):
            assert refused.status_code == 403, refused.text
            assert "OWNER or ADMIN" in refused.json()["detail"]
        assert await shop.read(f"{TRACES}/{shop.trace}") == [by_person.json()]
        # A change of nothing is none.
        assert (await shop("PATCH", path, {})).status_code == 200
        own = await shop.site.http.patch(path, headers=head, json={"value": "0.75"})
        assert (own.json()["value"], own.json()["author_user_id"]) == ("0.75", str(new_person.id))
        assert (await shop.site.http.delete(path, headers=head)).status_code == 204

    @pytest.mark.parametrize("role", [Role.ADMIN, Role.OWNER])
    async def test_admin_changes_and_deletes_score_by_person(
        self, shop: ScoredProject, role: Role
    ) -> None:
        shop.site.now = NOON
        ada, head = shop.person()
        given = await shop.site.http.post(TRACES, headers=head, json=shop.score(reason="mine"))
        path = f"{TRACES}/{given.json()['id']}"
        admin, over = shop.person("admin@example.com", role)
        changed = await shop.site.http.patch(path, headers=over, json={"value": "1"})
        assert changed.json()["author_user_id"] == str(admin.id)
        [revision] = await shop.read(f"{path}/history")
        before = {
            "value": "0.5",
            "source": "ANNOTATION",
            "author_user_id": str(ada.id),
            "reason": "mine",
            "metadata": {},
        }
        assert revision == {
            "changed_at": "2026-03-01T12:00:00+00:00",
            "user_id": str(admin.id),
            "api_key_id": None,
            "before": before,
            "after": before | {"value": "1", "author_user_id": str(admin.id)},
        }
        shop.site.now = NOON + timedelta(minutes=1)
        assert (await shop.site.http.delete(path, headers=over)).status_code == 204
        assert (await shop("GET", f"{path}/history")).status_code == 404
        if shop.site.swapped:  # the log is in the database
            return
        log = f"/organizations/{shop.site.organization}/audit-log"
        items = (await shop.site.http.get(log, headers=admin.bearer)).json()["items"]
        deleted, edited = [one for one in items if one["resource"]["type"] == "score"]
        assert [one["action"] for one in (deleted, edited)] == ["score.deleted", "score.changed"]
        assert edited["actor"] == {
            "user_id": str(admin.id),
            "api_key_id": None,
            "name": "admin@example.com",
        }
        assert edited["resource"] == {"type": "score", "id": given.json()["id"]}
        assert edited["detail"] == {
            "project_id": str(shop.project_id),
            "name": "quality",
            "source": "ANNOTATION",
            "author_id": str(ada.id),
            "from": "0.5",
            "to": "1",
        }

    async def test_history_keeps_the_first_and_the_newest_changes(
        self, shop: ScoredProject
    ) -> None:
        large = {"text": "x" * REVISION_METADATA_MAX}
        path = f"{TRACES}/{await shop.add_judged_score(value='0.8')}"
        for n in range(REVISIONS_MAX + 3):
            await shop("PATCH", path, {"value": f"0.{n}", "metadata": large})
        history = await shop.read(f"{path}/history")
        assert len(history) == REVISIONS_MAX
        assert history[0]["before"]["value"] == "0.8"
        assert history[0]["before"]["source"] == "AUTOMATED"
        assert history[0]["api_key_id"] is not None
        assert history[-1]["after"]["value"] == f"0.{REVISIONS_MAX + 2}"
        assert history[-1]["before"]["value"] == f"0.{REVISIONS_MAX + 1}"
        assert history[-1]["before"]["metadata"] is None

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({"value": "2"}, {"value"}),
            ({"value": 0.5, "reason": "\0"}, {"value", "reason"}),
            (
                {"reason": "r" * (SENT_REASON_MAX + 1), "metadata": TOO_LONG},
                {"reason", "metadata"},
            ),
            ({"value": "x" * 256, "metadata": {"a": "\0"}}, {"value", "metadata"}),
        ],
    )
    async def test_invalid_changes_are_refused(
        self, shop: ScoredProject, body: dict[str, Any], fields: set[str]
    ) -> None:
        score = await shop.add_score()
        assert set(field_errors(await shop("PATCH", f"{TRACES}/{score['id']}", body))) == fields
        assert await shop.read(f"{TRACES}/{shop.trace}") == [score]

    async def test_deleted_score_is_gone(self, shop: ScoredProject) -> None:
        path = f"{TRACES}/{(await shop.add_score())['id']}"
        gone = await shop("DELETE", path)
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await shop("DELETE", path)).status_code == 404
        assert (await shop("PATCH", path, {"value": "1"})).status_code == 404
        assert (await shop.read(TRACES))["total"] == 0

    async def test_id_must_be_a_uuid(self, shop: ScoredProject) -> None:
        for method, body in (("PATCH", {"value": "1"}), ("DELETE", None)):
            refused = await shop(method, f"{TRACES}/x", body)
            assert set(field_errors(refused)) == {"path.score_id"}
        refused = await shop("GET", f"{TRACES}/x/history")
        assert set(field_errors(refused)) == {"path.score_id"}


async def test_scores_of_another_project_are_404(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    score = await other.add_score()
    path = f"{TRACES}/{score['id']}"
    assert (await shop("PATCH", path, {"value": "1"})).status_code == 404
    assert (await shop("PATCH", path, {})).status_code == 404
    assert (await shop("DELETE", path)).status_code == 404
    assert await shop.read(f"{TRACES}/{other.trace}") == []
    assert (await shop.read(f"{TRACES}?trace_id={other.trace}"))["total"] == 0
    assert await other.read(f"{TRACES}/{other.trace}") == [score]


async def test_equal_trace_ids_of_two_projects_have_separate_scores(shop: ScoredProject) -> None:
    other = await ScoredProject.new(shop.site)
    await other.store_trace(trace_id=shop.trace)
    await shop.add_score(value="0.25")
    await other.add_score(trace_id=shop.trace, value="0.75")
    assert [one["value"] for one in await shop.read(f"{TRACES}/{shop.trace}")] == ["0.25"]
    assert [one["value"] for one in await other.read(f"{TRACES}/{shop.trace}")] == ["0.75"]


async def test_trace_can_be_scored_right_after_ingest(either: Site) -> None:
    head = either.headers(Scope.INGEST, project=f"new {uuid.uuid4().hex}")
    trace = str(uuid.uuid4())
    sent = await either.http.post("/traces", headers=head, json=a_trace(trace_id=trace))
    assert sent.status_code == 202
    body = {"trace_id": trace, "name": "n", "value": "1"}
    assert (await either.http.post(TRACES, headers=head, json=body)).status_code == 201


async def test_other_methods_are_405(site: Site) -> None:
    for path, allowed in (
        (TRACES, {"GET", "POST"}),
        (f"{TRACES}/{NOBODY}", {"GET", "PATCH", "DELETE"}),
    ):
        refused = await site.http.put(path, headers=site.headers(), json={})
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) >= allowed
