"""The way from a metric to a judge: the judge client, its policies and what they need."""
