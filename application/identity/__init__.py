"""Authentication, and managing organizations, projects, members and keys."""
