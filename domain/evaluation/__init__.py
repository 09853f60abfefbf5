"""Evaluation: scores of traces and sessions, and how they are made.

Each chapter explains its terms in its own `__init__`. Imports between chapters go one way:

trace_content   what a trace says
scores          outcomes and scores
evidence        what a judge reads of a trace
metrics         built-in metrics
sessions        session metrics
runs            evaluation runs
judging         judges, prompts and verdicts
custom_metrics  metrics defined by a project
costs           costs of judges
agreement       comparison of judges with people
monitors        scheduled runs, alerts and webhooks
"""
