"""Who judges: by rules, and by model."""
