"""The built-in metrics: their registry, rubrics, and what is computed without a judge."""
