"""Finds the installed wheels that contain the servers."""

from importlib.util import find_spec
from pathlib import Path

from adapters.embedded.process import StartError


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it. Raises StartError."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(
            f"the package {name} isn't installed: it comes with the dependency group `embedded` "
            "(`make dev` installs it); or run your own servers and set PANDAPROBE_DATABASE_URL "
            "and PANDAPROBE_REDIS_URL"
        )
    return Path(spec.origin).resolve().parent
