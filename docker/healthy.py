"""Whether what is in this container answers: 0 where it does, as Docker's HEALTHCHECK wants it.

It asks /health, which asks nothing else: a container isn't replaced because a database is away. Of
the API, or at the port that it is called with: that of a worker.
"""

# ruff: noqa: INP001 - a command of the image, in no package

import os
import sys
import urllib.request

PORT = sys.argv[1] if sys.argv[1:] else os.environ.get("PANDAPROBE_PORT") or "8000"

try:
    urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=4).close()
except OSError as error:
    sys.exit(f"/health: {error}")
