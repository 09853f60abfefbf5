"""Scores that other code computed have another fingerprint."""

import pytest

from domain.evaluation.custom_metrics.checks import CHECK_VERSIONS, COMPUTED_CHECKS
from domain.evaluation.custom_metrics.parser import FIRST_VERSION, versioned
from domain.evaluation.metrics.metric import is_rule_fingerprint
from tests.support.builders.pinned_inputs import PARAMETERS
from tests.support.clients.pinned_metrics import PINNED, changes, compute, encode, pinned

STORED = pinned(PINNED.read_text())


@pytest.fixture(scope="module")
def computed():
    return compute()


def test_changed_result_has_a_new_version(computed):
    reported = "raise CHECK_VERSIONS of the checks, or RULE_VERSION"
    assert changes(STORED, computed) == [], reported


def test_every_result_is_pinned(computed):
    missing = [
        (version, case)
        for version, cases in computed.items()
        for case, found in cases.items()
        if STORED.get(version, {}).get(case, {}).keys() != found.keys()
    ]
    assert missing == [], "run python -m tests.support.clients.pinned_metrics"
    assert encode(STORED) == PINNED.read_text()


def test_inputs_tell_results_apart(computed):
    """A definition with the same result for every input would notice no change."""
    assert set(PARAMETERS) == set(COMPUTED_CHECKS)
    for version, cases in computed.items():
        for case, found in cases.items():
            assert len(set(found.values())) > 1, (version, case)


def test_changes_name_what_changed():
    before = {"rule": {"r": {"one": "1.0", "two": "0.0"}}}
    now = {"rule": {"r": {"one": "1.0", "two": "1.0"}, "s": {"one": "0.0"}}}
    assert changes(before, now) == ["rule r of two: 0.0, now 1.0"]
    assert changes(before, {"rule/2": now["rule"]}) == []


def test_another_version_has_another_fingerprint():
    assert versioned("measured/json_valid", FIRST_VERSION) == "measured/json_valid"
    assert versioned("measured/json_valid", 2) == "measured/json_valid/2"
    assert not is_rule_fingerprint(f"{versioned('rule', 2)}/0123456789abcdef")
    assert CHECK_VERSIONS.keys() <= COMPUTED_CHECKS.keys()
