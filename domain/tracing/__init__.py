"""Traces and their spans.

trace     one run of an agent: a name, a start, a status, and the spans that happened inside it
span      one step of a trace: a model call, a tool call, a retrieval; spans form a tree by parent
session   the traces of one conversation, joined by their `session_id`
payload   what went in and came out: JSON text that is stored and given back, never interpreted
usage     the tokens that a span consumed
charge    what a span cost, and who says so: the client, the price table, or nobody
"""
