"""Writes docs/openapi.json, the OpenAPI document as readers of the repository see it.

python -m tests.support.clients.openapi_snapshot
"""

import json
from pathlib import Path

from litestar import Litestar

from entrypoints.http.app import CONTROLLERS
from entrypoints.http.config import HttpConfig
from entrypoints.http.endpoint import DEPENDENCIES
from entrypoints.http.openapi.document import document

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"


def text() -> str:
    """The document with the limits that are set by default."""
    app = Litestar(route_handlers=CONTROLLERS, dependencies=DEPENDENCIES, openapi_config=None)
    config = HttpConfig(version="0", environment="")  # a release is no reason to write it anew
    return json.dumps(document(app, config), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text())
