"""What programs that aren't ours get to know of our environment: nothing that could be a secret."""

import os
from typing import Final

PASSED_ON: Final = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
    }
)


def passed_on() -> dict[str, str]:
    """For a child that needs no setting of ours: keys of providers stay with us."""
    return {name: value for name, value in os.environ.items() if name in PASSED_ON}
