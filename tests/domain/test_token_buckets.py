"""Costs of token buckets."""

from domain.limits import SECOND_US
from domain.token_buckets import cost_us


def test_cost_is_rounded_up_so_that_no_volume_is_free():
    assert [cost_us(one, 3 * SECOND_US) for one in (0, 1, 3, 4)] == [0, 1, 1, 2]
