"""The work of runs: planned, announced, claimed, finished.

Whoever locks, locks in one order: the run, its rows of work, traces, scores by their key, and at
last the project's turn to announce. Rows of work of several targets, or of another run, are
passed by where somebody holds them. So nobody waits in a circle.
"""
