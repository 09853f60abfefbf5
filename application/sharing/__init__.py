"""Public links to traces: making, listing and revoking them, and reading what they show."""
