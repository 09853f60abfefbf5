"""Usage and budgets of an organization."""
