"""What serving requests does without: libraries that take seconds and megabytes to load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("pydantic_ai", "openai", "anthropic", "google.genai")
PROGRAM = """
import sys
from entrypoints import asgi, cli, serving
from entrypoints.settings import Settings
asgi.build_app(Settings())
print([name for name in sys.argv[1:] if name in sys.modules])
"""


def test_the_api_loads_no_client_of_models():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *HEAVY, "litestar"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "['litestar']"
