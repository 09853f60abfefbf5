"""The ports of evaluation: protocols whose docstrings are contracts."""
