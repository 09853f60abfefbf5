"""The key of a development issuer, for processes that import little else."""

from pathlib import Path

from adapters.oidc.tokens import DevelopmentIssuer


def thumbprint(folder: Path) -> str:
    """Creates the key if the folder has none."""
    [key] = DevelopmentIssuer.load_or_create(folder).keys()
    return key.thumbprint()
