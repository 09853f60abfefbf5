"""Reads spans across traces: lists, searches, analytics and groups of errors."""
