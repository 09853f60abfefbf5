"""Decodes OTLP requests into fragments, in both wire types, and encodes the answers.

An **outline** is a request of which only the outer levels are read: groups of spans or records that
share a resource and a scope, each of them still encoded. So a bad span costs itself alone, and
memory follows one span and not the body.
"""
