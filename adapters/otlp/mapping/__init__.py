"""Maps the fragments of a span to its row, by rules that are data.

A rule (`rules.py`) names a target and the attributes that may give it. The interpreter
(`reading.py`) looks each attribute up once, and per target the first source that isn't empty wins.
A payload is an input or output; a family is all attributes with one prefix.
"""
