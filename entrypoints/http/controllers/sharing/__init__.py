"""Public links to traces, and what their readers get."""
