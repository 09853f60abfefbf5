"""What judging costs: prices of judge calls, spending by group, and estimates before a run."""
