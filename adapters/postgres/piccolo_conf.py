"""The engine of Piccolo, one per process. It connects when its pool is opened, not before."""

from typing import Any

from adapters.postgres.database.pool import Engine

DB = Engine(config={})


def __getattr__(name: str) -> Any:
    """APP_REGISTRY, which only migrations ask for: it brings a formatter of code and 9 MB."""
    if name != "APP_REGISTRY":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from piccolo.conf.apps import AppRegistry  # noqa: PLC0415 - most processes never need it

    return AppRegistry(apps=["adapters.postgres.schema.piccolo_app"])
