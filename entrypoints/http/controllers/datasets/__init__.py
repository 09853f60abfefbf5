"""Datasets: items, versions, import and export."""
