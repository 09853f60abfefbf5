"""Scores: how good a trace was, and how that is found out.

metric     something that can be measured of a trace or a session, by its name; 1.0 is the good end
monitor    runs that begin by themselves, in a cadence, over what is new
outcome    what measuring ended in: scored (a number in [0, 1]), skipped (there was nothing to
           measure) or failed (the measurement broke); the last two are never a number
code       why it was skipped or failed, in a word that programs can group by
subject    what a measure reads: a trace, and the outputs of its session before it
call       a tool call of a trace: a TOOL span with its arguments, output and whether it failed
evidence   what of a trace a judge gets to read: within a budget, secrets masked, with a hash
step       a span as evidence tells it, under a label such as `s1.2`
fence      the line around evidence that the author of a trace can't guess
shingle    three words in a row, to tell how much of one text stands in another
run        targets, which are traces or sessions, each to be measured with some metrics
execution  one metric on one target: what the row of its score says
score      what is said of a target under one name, by a machine, a person or a program
signal     a trace's score that session metrics roll up
rubric     what a judge is asked for one metric: the criterion, and what each label stands for
verdict    what a judge answers: a label or checks, the steps it cites, or that it can't tell
agreement  how far a judge says what people say, and what its pass rate is worth
alert      a figure of a monitor's runs that is watched, and told when it turns bad or good again
cadence    how often a monitor runs: a period, or five fields of cron in UTC
selection  which traces or sessions are meant, as a caller gave it
"""
