"""The index of words, and searches for traces with it."""
