"""Values that only the type checker keeps from changing are values in every other way."""

import pytest

from domain.frozen_by_types import frozen_by_types


@frozen_by_types()
class Point:
    x: int
    y: int = 0


def test_equal_values_are_one_key():
    assert Point(1) == Point(1, 0) != Point(2)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_other_attributes_cannot_be_set():
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]  # that is what is tested
