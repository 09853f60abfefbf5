"""Costs of judges: the ledger, budgets, spending, and estimates before a run.

ledger       one entry for each request to a provider
budget       the maximum cost of a run, or of a project's month
reservation  an amount set apart before a judge call
"""
