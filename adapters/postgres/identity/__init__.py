"""Organizations, members, projects, keys, and the purge of deleted projects."""
