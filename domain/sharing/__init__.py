"""Public links: a trace that anybody with the link may read.

A **link** shows one trace, and nothing else of its project. Its **token** is the secret part of
its address, of which only the hash is stored. A **masked** link leaves out what people, models and
tools said.
"""
