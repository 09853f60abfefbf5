"""Runs the guide: every call works, and its answer contains what the page shows."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import DevServer
from tests.e2e.documentation.test_readme import environ
from tests.support.waiting import WAIT_MAX_S

pytestmark = pytest.mark.e2e

ROOT: Final = Path(__file__).parents[3]
GUIDE: Final = ROOT / "docs" / "guide"
PAGES: Final = sorted(path for path in GUIDE.glob("*.md") if path.name != "README.md")
EXPECTED: Final = re.compile(
    r"^# ?=> (.*)\n", re.MULTILINE
)  # in Python, formatters require a space


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page, and the answers that its `#=>` lines expect."""

    language: str
    code: str
    expected: list[str]


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [
        Block(language, EXPECTED.sub("", code), EXPECTED.findall(code)) for language, code in found
    ]


def run_block(block: Block, dev: DevServer) -> str:
    """Runs a block, and returns its output. Blocks share only what is stored in the service."""
    if block.language == "python":
        command = [sys.executable, "-c", block.code]
    else:
        [begin] = blocks(GUIDE / "README.md")
        script = f"set -e\n{begin.code}\n{block.code}".replace(".local/", f"{dev.folder}/")
        command = ["sh", "-c", script]
    done = subprocess.run(
        command,
        env=environ() | dev.environ | {"PANDAPROBE_DATA_DIR": str(dev.folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_MAX_S,
        check=False,
    )
    assert done.returncode == 0, f"{block.code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_works_as_written(dev_server: DevServer, page: Path):
    found = blocks(page)
    assert {one.language for one in found} <= {"sh", "python"}
    assert any(one.expected for one in found)
    run = ""  # carried from block to block, as in one shell
    for block in found:
        code = block.code
        if block.language == "sh":
            code = f"run={run}\n{code}\nprintf '\\nrun=%s' $run"
        text = run_block(Block(block.language, code, block.expected), dev_server)
        run = (re.findall(r"^run=(.+)$", text, re.MULTILINE) or [run])[-1]
        for expected in block.expected:
            assert expected in text, f"{page.name}: {expected}\n{block.code}\n{text}"


def test_every_page_is_listed():
    listed = (GUIDE / "README.md").read_text()
    assert [page.name for page in PAGES if f"({page.name})" not in listed] == []
