"""Tests over the items of a dataset, recorded as experiments of a PandaProbe server."""

from pytest_pandaprobe.case import Case

__all__ = ["Case"]
