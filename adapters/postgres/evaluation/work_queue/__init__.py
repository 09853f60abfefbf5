"""The work queue of runs: targets are planned, queued, claimed and finished.

The lock order avoids deadlocks: the run, its targets, traces, scores by their key, and last the
dispatch lock of the project. Statements that lock several targets, or those of another run, skip
locked rows.
"""
