"""The MCP server: tools with which agents read traces, within a budget of tokens.

It is a process of its own that speaks to the service over its public REST API with the caller's
key. Only `server.py` and `http.py` import the package `mcp`, an extra.

budget     the most tokens that an answer may take, by `count_tokens`
fence      two lines around text of users, models and tools, which no such text can imitate
view       a part of an answer: a pure function of what the service returned
credential the key or token of a caller, and the project that it names
"""
