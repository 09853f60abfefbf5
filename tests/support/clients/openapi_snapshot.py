"""Writes docs/openapi.json, the OpenAPI document for readers of the repository.

The dashboard's types of the API are written with it, since they are made of it.

python -m tests.support.clients.openapi_snapshot
"""

import json
import subprocess
import sys
from pathlib import Path

from litestar import Litestar

from entrypoints.http.app import CONTROLLERS
from entrypoints.http.config import HttpConfig
from entrypoints.http.openapi.document import document

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"


def text() -> str:
    """The document with the default limits."""
    app = Litestar(route_handlers=CONTROLLERS, openapi_config=None, logging_config=None)
    config = HttpConfig(version="0", environment="")  # so that a release doesn't change it
    return json.dumps(document(app, config), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text())
    types = SNAPSHOT.parents[1] / ".ci" / "dashboard_types.py"
    subprocess.run([sys.executable, types], check=True)
