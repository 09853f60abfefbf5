"""The costs of judging: usage of an organization, and monthly budgets."""
