"""Ingestion of OpenTelemetry spans and log records."""
