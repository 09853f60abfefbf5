"""The handlers: each calls one use case and returns a response."""
