"""Caches in the process: identities, and buffered uses of API keys."""
