"""Costs of judging: the cache of verdicts, the ledger of judge calls, budgets."""
