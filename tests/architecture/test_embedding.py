"""docs/development/embedding.md: its examples run in order, and print what the page shows."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "docs/development/embedding.md"
BLOCK: Final = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def run(program: str, names: dict[str, Any]) -> None:
    """Runs the program as the prompt of `python -m asyncio` does, with `await` at its top."""
    code = compile(program, PAGE.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        await eval(code, names)
    else:
        exec(code, names)


async def test_examples_print_what_the_page_shows(capsys):
    names: dict[str, Any] = {}
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) > 5
    for language, text in blocks:
        if language == "python":
            await run(text, names)
        else:
            assert capsys.readouterr().out == text
    tests = [one for name, one in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    for one in tests:
        await one()
    assert capsys.readouterr().out == ""
