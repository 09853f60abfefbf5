"""What a judge gets to read of a trace: bounded, truncated, redacted, with a hash."""
