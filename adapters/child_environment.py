"""The environment of child processes that aren't ours: nothing that could be a secret."""

import os
from typing import Final

INHERITED_VARIABLES: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    }
)


def inherited_environment() -> dict[str, str]:
    """The environment of a child that needs no setting of ours: without any provider's keys."""
    return {name: value for name, value in os.environ.items() if name in INHERITED_VARIABLES}
