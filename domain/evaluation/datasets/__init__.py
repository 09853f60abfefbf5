"""Datasets of a project: test cases for experiments, in versions that never change.

item      a case: an input, and optionally the expected output, metadata and a split
split     a named part of the items, such as `test`
version   all items at a time, identified by a hash over them
link      the trace that an item was copied from; an erasure follows it
"""
