"""Messages of conversations, read from payloads of any framework in one shape."""
