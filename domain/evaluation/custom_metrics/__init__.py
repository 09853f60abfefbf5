"""A project's own metrics: definitions as JSON, their parser, rules and checks."""
