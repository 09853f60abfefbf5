"""Evaluation runs: states, selection of targets, retries and votes.

run        the evaluation of many targets with some metrics
target     a trace or a session
selection  the filters for targets, as the caller gave them
work item  one target of a run, with its metrics
execution  one metric on one target, recorded in its score
tally      the counts of a run's executions
vote       one of several answers to the same question
"""
