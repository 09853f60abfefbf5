"""Experiments: which trace is the answer to which item of a dataset.

case        an item and a repetition
result      the trace of a case
experiment  the binding of cases to traces; the scores are those of its run
"""
