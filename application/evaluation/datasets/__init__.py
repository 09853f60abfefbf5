"""Datasets: creating them, writing items, and copying traces into them."""
