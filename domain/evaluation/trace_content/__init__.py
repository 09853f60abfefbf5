"""What a trace says: messages, tool calls, the span tree, the user request, language."""
