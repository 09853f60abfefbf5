"""A project's own metrics and the definitions that runs keep."""
