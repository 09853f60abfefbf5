"""ASGI layers around the routes: limits, load shedding, logs, security headers."""
