"""The metric catalogue and a project's own metrics."""
