"""Custom metrics of a project: definitions as JSON, their parser, rules and checks.

definition  one revision of a custom metric: a rubric, a rule, or a check with parameters
rule        conditions on paths of a trace, combined by all and any
path        a place in a trace, such as `spans[kind=TOOL].name`
check       a computed metric with parameters set by the project
"""
