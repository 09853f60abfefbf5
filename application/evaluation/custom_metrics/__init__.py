"""Creating, revising and listing a project's own metrics; the metric catalogue."""
