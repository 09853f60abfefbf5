"""Organizations, projects and keys over dicts."""
