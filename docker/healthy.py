"""Whether the API in this container answers: 0 where it does, as Docker's HEALTHCHECK wants it.

It asks /health, which asks nothing else: a container isn't replaced because a database is away.
"""

import os
import sys
import urllib.request

PORT = os.environ.get("PANDAPROBE_PORT") or "8000"

try:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=4) as answer:
        sys.exit(answer.status != 200)
except OSError as error:
    sys.exit(f"/health: {error}")
