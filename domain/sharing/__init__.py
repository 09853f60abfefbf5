"""Public links: a trace that every reader with the link sees.

A **link** shows one trace, and nothing else of its project. Its **token** is the secret part of
its address, of which only the hash is stored. A **masked** link leaves out what people, models and
tools said.
"""
