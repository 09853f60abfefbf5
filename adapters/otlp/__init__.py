"""OpenTelemetry's protocol (OTLP): from what senders send to spans of ours."""
