"""The composition root: which adapter implements which port."""
