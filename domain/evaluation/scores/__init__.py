"""Scores and outcomes, filters of score lists, and score analytics.

outcome  the result of an evaluation: scored, skipped or failed
scored   a number in [0, 1]; skipped and failed outcomes never have a number
skipped  there was nothing to evaluate
failed   the evaluation broke
code     why an outcome is skipped or failed, as one word that programs can group by
score    one named value of a trace or session, given by a run, a person or a program
"""
