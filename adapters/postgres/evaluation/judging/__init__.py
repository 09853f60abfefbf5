"""What judging costs and caches: verdicts, the ledger of judge calls, budgets."""
