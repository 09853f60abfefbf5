"""Extras: optional dependencies of `pyproject.toml` that some settings need."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from entrypoints.settings import Settings, variable

OTEL_MODULES: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def missing_extras(settings: Settings, _wrong: frozenset[str]) -> Iterator[str]:
    """A message for each extra that the settings need and that isn't installed."""
    if settings.otel_exporter_otlp_endpoint is not None and not all(
        map(_is_installed, OTEL_MODULES)
    ):
        yield (
            f"{variable('otel_exporter_otlp_endpoint')} needs the extra `otel`, which isn't "
            "installed: install pandaprobe-server[otel], or the packages of "
            "requirements-extras.lock"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
