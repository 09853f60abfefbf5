"""What is served, what the page says, and what alerts and the dashboard ask for are one list."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from adapters.otlp_spans import BATCH_SPANS_MAX, QUEUED_SPANS_MAX
from adapters.postgres.tracing.group_commit import QUEUE_BYTES_MAX, QUEUE_ITEMS_MAX
from adapters.prometheus.definitions import DATABASE_METRICS, PROCESS_METRICS, MetricDefinition
from application.evaluation.ports.work_queue import AGE_BANDS
from entrypoints.http.middleware.observer_ports import RequestKind
from entrypoints.observability.observer import BROKEN, DONE, PUT_OFF, outcome_of
from tests.support.problems import for_each

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/observability.md").read_text()
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "docker/prometheus/alerts.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana/dashboard.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [one for one in DASHBOARD["panels"] if one["type"] != "row"]
SERVED = {one.name: one for one in (*PROCESS_METRICS, *DATABASE_METRICS)}
OF_PROMETHEUS = {"up": {"job"}}  # which it makes itself
OF_ANY = {"instance", "job", "le"}


def series() -> dict[str, MetricDefinition]:
    """Every name that an expression may ask for."""
    found = {name: one for name, one in SERVED.items() if one.kind != "histogram"}
    for name, one in SERVED.items():
        if one.kind == "histogram":
            found |= {f"{name}_{part}": one for part in ("bucket", "sum", "count")}
    return found


def selectors(node: Any) -> Iterator[Any]:
    """Every vector selector of an expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str | int | float):
            yield from selectors(inner)
    for inner in getattr(node, "args", []):
        yield from selectors(inner)


def groupings(text: str) -> set[str]:
    """The labels that an expression groups by."""
    return {
        label.strip() for found in re.findall(r"by \(([^)]*)\)", text) for label in found.split(",")
    }


EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((panel["title"], one["expr"]) for panel in PANELS for one in panel["targets"]),
]


def in_prometheus(text: str) -> str:
    """What Grafana makes of its variables."""
    return text.replace("$__rate_interval", "1m").replace("$instance", ".*")


@for_each(EXPRESSIONS)
def test_expressions_use_existing_metrics_and_labels(where, text):
    found = list(selectors(promql_parser.parse(in_prometheus(text))))
    assert found, where
    may_group = set(OF_ANY)
    for one in found:
        if one.name in OF_PROMETHEUS:
            labels = OF_PROMETHEUS[one.name]
        else:
            named = series()[one.name]
            labels = set(named.labels)
            may_group |= labels
        asked = {matcher.name for matcher in one.matchers.matchers}
        assert asked <= labels | {"instance"}, one.name
    assert groupings(text) <= may_group, where


@for_each(EXPRESSIONS)
def test_expressions_use_rate_for_counters_only(where, text):
    for one in selectors(promql_parser.parse(in_prometheus(text))):
        if one.name in OF_PROMETHEUS:
            continue
        is_gauge = series()[one.name].kind == "gauge"
        has_rate = bool(re.search(rf"(rate|increase)\({one.name}\b", text))
        assert has_rate != is_gauge, one.name


@for_each(EXPRESSIONS)
def test_database_metrics_are_not_summed_over_processes(where, text):
    for one in DATABASE_METRICS:
        assert not re.search(rf"sum[^(]*\([^)]*\)?\s*\(?{one.name}\b", text), where


def test_label_values_in_expressions_exist():
    said = " ".join(text for _, text in EXPRESSIONS)
    words = {
        "outcome": {outcome_of(status) for status in (0, 200, 400, 429, 500, 503)}
        | {"answered", DONE, PUT_OFF, BROKEN},
        "kind": set(RequestKind),
        "state": {"used", "idle"},
        "decision": {"admitted", "refused"},
        "process": {"serve", "worker"},
    }
    for label, known in words.items():
        for value in re.findall(rf'\b{label}[!=]=?~?"([^"]*)"', said):
            assert set(value.split("|")) <= known, (label, value)


def test_alert_has_name_severity_and_summary():
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"PandaProbe[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            assert label in groupings(rule["expr"]) or rule["expr"].startswith("up")


def test_dashboard_can_be_imported():
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(DASHBOARD)
    ids = [one["id"] for one in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "instance"]
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        refs = [one["refId"] for one in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0


def test_panels_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboard_shows_every_served_metric():
    shown = {
        one.name
        for panel in PANELS
        for target in panel["targets"]
        for one in selectors(promql_parser.parse(in_prometheus(target["expr"])))
    }
    bare = {re.sub(r"_(bucket|sum|count)$", "", one) if one not in SERVED else one for one in shown}
    assert bare == set(SERVED)


def test_page_has_one_row_per_metric():
    rows = re.findall(r"^\| `(pandaprobe_\w+)` \| (\w+) \|([^|]*)\| ([^|]+) \|$", PAGE, re.M)
    told = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels, _ in rows}
    assert told == {name: (one.kind, list(one.labels)) for name, one in SERVED.items()}
    assert len(rows) == len(SERVED)


def test_page_explains_every_label_value():
    for word in (
        *(outcome_of(status) for status in (0, 200, 400, 429, 500, 503)),
        *(DONE, PUT_OFF, BROKEN, *RequestKind, *AGE_BANDS),
    ):
        assert f"`{word}`" in PAGE, word


def test_documented_bounds_match_code():
    assert f"Up to {QUEUED_SPANS_MAX:,} wait" in PAGE
    assert f"at most {BATCH_SPANS_MAX} at once" in PAGE
    assert f"at most {QUEUE_ITEMS_MAX:,} of a process" in PAGE
    assert f"at most {QUEUE_BYTES_MAX >> 20} MiB of a process" in PAGE


@for_each(SERVED.values(), lambda one: one.name)
def test_metric_name_follows_prometheus_conventions(named):
    assert re.fullmatch(r"pandaprobe_[a-z]+(_[a-z]+)*", named.name)
    assert named.name.endswith("_total") == (named.kind == "counter")
    assert not {"project", "organization", "key", "user", "trace", "model"} & set(named.labels)
