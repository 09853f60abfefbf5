"""Traces and their spans.

trace    one run of an agent: a name, a start, a status, and the spans inside it
span     one step of a trace, such as a model call or tool call; spans form a tree
session  the traces of one conversation, joined by their `session_id`
payload  an input or output: JSON text that is stored and returned unchanged
message  one message of a chat, in the canonical shape of `messages.py`
usage    the tokens that a span consumed
charge   the cost of a span and its source: the client, the price table, or unpriced
"""
