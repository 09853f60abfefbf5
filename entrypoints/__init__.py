"""Entry points: they parse input, call one use case, and send the answer."""
