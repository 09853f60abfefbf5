"""The dashboard: its sources in TypeScript, and the files that are built from them.

`built` is committed, so that a clone, a wheel and an image have the same files, and the service
runs without Node. `make dashboard` builds it again. `manifest.json` has the hash of each file and
one hash over all sources, by which a test without Node finds a forgotten rebuild.
"""

from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parent
BUILT: Final = SOURCES / "built"
