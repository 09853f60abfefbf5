"""All ports over dicts, in one process: the executable specification of the ports.

For tests, and for engineers who call the use cases without infrastructure:
docs/development/embedding.md.
"""
