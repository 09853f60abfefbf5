"""Pages in one piece: text, style and script of ours put together, and what browsers may run."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PAGES: Final = Path(__file__).parents[1] / "pages"


def assembled(name: str, **words: str) -> tuple[bytes, dict[str, str]]:
    """The page `name` with its style, script and these words in it, and the source of each.

    Sources are those of a policy, by its directive: they let nothing inline run but what is here.
    """
    style, script = ((PAGES / f"{name}.{kind}").read_text() for kind in ("css", "js"))
    page = (PAGES / f"{name}.html").read_text()
    for place, text in (words | {"style": style, "script": script}).items():
        page = page.replace(f"{{{{{place}}}}}", text)
    return page.encode(), {"script-src": _source(script), "style-src": _source(style)}


def policy(sources: Mapping[str, str], *more: str) -> str:
    """A Content-Security-Policy that allows what these directives say, and nothing else."""
    allowed = (f"{name} {source}" for name, source in sources.items())
    nothing = (f"{name} 'none'" for name in ("base-uri", "form-action", "frame-ancestors"))
    return "; ".join(("default-src 'none'", *allowed, *nothing, *more))


def _source(text: str) -> str:
    """The one inline text that may be used (Content Security Policy 3, section 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
