"""Child processes, signals, and the supervisor behind `dev`."""
