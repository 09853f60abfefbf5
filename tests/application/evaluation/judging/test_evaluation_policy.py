"""The evaluation policy: its bounds fit together."""

from datetime import timedelta

import pytest

from application.evaluation.judging.evaluation_policy import DEFAULT_POLICY, EvaluationPolicy
from application.evaluation.ports.work_queue import LEASE


@pytest.mark.parametrize("seconds", [LEASE / timedelta(seconds=1), 600])
def test_deadline_longer_than_lease_is_refused(seconds):
    with pytest.raises(ValueError):
        EvaluationPolicy(deadline_s=seconds - DEFAULT_POLICY.head_start_s)
    assert EvaluationPolicy(deadline_s=94.0).deadline_s == 94.0
