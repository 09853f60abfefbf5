"""Organizations, members, invitations, projects, API keys, audit log."""
