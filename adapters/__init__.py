"""Adapters implement the ports of `application`: one folder for each technology."""
