"""Writing traces: batches and edits, and what each of them counts."""
