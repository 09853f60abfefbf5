"""The prompt, the verdict, and the heuristic judge that needs no model."""
