"""Model prices and repricing."""
