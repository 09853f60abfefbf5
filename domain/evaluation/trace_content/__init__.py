"""What a trace says: messages, tool calls, span tree, user request, language.

It imports no other chapter of evaluation.

evaluated trace  a settled trace with derived values, and earlier outputs of its session
request          what the user asked: the input, or the last user message of a chat
answer           what the agent answered: the output, or the last assistant message of a chat
tool call        a TOOL span with its arguments, its output, and whether it failed
shingle          three adjacent words, to measure how much of a text another one contains
"""
