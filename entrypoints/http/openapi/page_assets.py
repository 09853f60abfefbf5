"""Pages in one file: HTML with inlined style and script, and their Content-Security-Policy."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PAGES: Final = Path(__file__).parents[1] / "pages"


def render_page(name: str, **values: str) -> tuple[bytes, dict[str, str]]:
    """The page `name` with its style, script and these values, and the sources of both.

    The sources are those of a policy, by directive. They allow only this inline style and script.
    """
    style, script = ((PAGES / f"{name}.{kind}").read_text() for kind in ("css", "js"))
    page = (PAGES / f"{name}.html").read_text()
    for placeholder, text in (values | {"style": style, "script": script}).items():
        page = page.replace(f"{{{{{placeholder}}}}}", text)
    return page.encode(), {"script-src": _hash_source(script), "style-src": _hash_source(style)}


def content_security_policy(sources: Mapping[str, str], *more: str) -> str:
    """A Content-Security-Policy that allows these sources and nothing else."""
    allowed = (f"{name} {source}" for name, source in sources.items())
    denied = (f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors"))
    return "; ".join(("default-src 'none'", *allowed, *denied, *more))


def _hash_source(text: str) -> str:
    """The source that allows one inline text (Content Security Policy 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
