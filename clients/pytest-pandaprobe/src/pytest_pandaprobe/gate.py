"""The verdict over an experiment, and its summary."""

import json
import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_pandaprobe.record import Recorded
from pytest_pandaprobe.service import UNFINISHED, Service, ServiceError

RULE_KEYS: Final = frozenset({"rules", "coverage", "min_kappa"})
FAILURES_SHOWN: Final = 20  # of each experiment

_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def read_rules(path: Path) -> dict[str, Any]:
    """The rules of a TOML or JSON file, as the command `pandaprobe-server gate` reads it.

    Raises OSError, or ValueError for another content.
    """
    text = path.read_text(encoding="utf-8")
    found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    if not isinstance(found, dict) or found.keys() - RULE_KEYS:
        raise ValueError(f"{path} may have only {', '.join(sorted(RULE_KEYS))}")
    return found


def find_base(one: Recorded, count: int, bases: Sequence[Mapping[str, Any]]) -> str | None:
    """The id of its baseline: the only one, or that of the same test, or of the same dataset."""
    if count == len(bases) == 1:
        return str(bases[0]["id"])
    plan = one.plan
    same_data = [
        base for base in bases if (base["dataset"], base["split"]) == (plan.dataset, plan.split)
    ]
    same_test = [base for base in same_data if base["name"] == plan.name]
    found = same_test or same_data
    return str(found[0]["id"]) if len(found) == 1 else None


def judge(
    service: Service, candidate: str, base: str, rules: Mapping[str, Any], wait_s: float
) -> dict[str, Any]:
    """The comparison of both, once their runs are over. Raises ServiceError."""
    for experiment in (base, candidate):
        status = service.wait(experiment, wait_s)
        if status in UNFINISHED:
            raise ServiceError(
                f"after {wait_s:g} s the run of experiment {experiment} is {status}: no verdict"
            )
    return service.compare({**rules, "base": base, "candidate": candidate})


def lines_of(found: Mapping[str, Any]) -> Iterable[str]:
    """A line for the verdict, each rule, mismatch and new failure."""
    yield f"gate: {found['verdict']}"
    for one in found["results"]:
        yield _plain(f"  {one['verdict']}: {_rule(one['rule'])}: {_change(one)}{one['why']}")
        if one["needed"] is not None:
            yield f"    {_needed(one['needed'])}"
    for one in found["mismatches"]:
        of = f" of {one['metric']}" if one["metric"] else ""
        sides = " and ".join(", ".join(one[side]) or "none" for side in ("base", "candidate"))
        yield _plain(f"  not comparable: the {one['what']}{of} differs: {sides}")
    if (again := found["rescoring"]) is not None:
        yield _plain(f"  score the baseline again with {', '.join(again['metrics'])}")
    for one in found["new_failures"][:FAILURES_SHOWN]:
        means = f"{one['metric']} {one['base']:.4g} before, {one['candidate']:.4g} now"
        yield _plain(f"  new failure: {one['item']}: {means}{_evidence(one)}")
    if found["failures"] > FAILURES_SHOWN:
        yield f"  {found['failures']:,} new failures in all"


def _rule(rule: Mapping[str, Any]) -> str:
    limits = [
        f"{name} {rule[name]:g}"
        for name in ("max_drop", "min", "max_ratio")
        if rule.get(name) is not None
    ]
    return f"{rule['metric']} {' '.join(limits)}"


def _change(one: Mapping[str, Any]) -> str:
    if one["change"] is None:
        return ""
    shares = _percent(one["candidate_coverage"])
    if one["rule"].get("min") is None:
        shares = f"{_percent(one['base_coverage'])} and {shares}"
    covered = f"over {_counted(one['items'])}, {shares} of the cases scored: "
    if one["low"] is None or one["high"] is None:
        return f"{one['change']:.4g} {covered}"
    return f"{one['change']:.4g} [{one['low']:.4g}, {one['high']:.4g}] {covered}"


def _counted(items: int) -> str:
    return f"{items:,} item" if items == 1 else f"{items:,} items"


def _percent(share: float) -> str:
    """Rounded down, so that 100% means all."""
    return f"{math.floor(1_000 * share) / 10:g}%"


def _needed(needed: Mapping[str, Any]) -> str:
    ways = []
    for name, noun in (("items", "more items"), ("repetitions", "repetitions of each item")):
        if needed[name] is not None:
            cost = needed[f"{name}_cost_usd"]
            ways.append(f"{needed[name]:,} {noun}" + ("" if cost is None else f" (${cost:.2f})"))
    return f"about {', or '.join(ways)} would decide it" if ways else "no number would decide it"


def _evidence(failure: Mapping[str, Any]) -> str:
    for one in failure["results"][:1]:
        reasons = [
            score["reason"]
            for score in one["scores"]
            if score.get("metric") == failure["metric"] and score.get("reason")
        ]
        return f"; trace {one['trace_id']}" + "".join(f": {reason}" for reason in reasons)
    return ""


def _plain(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text)
