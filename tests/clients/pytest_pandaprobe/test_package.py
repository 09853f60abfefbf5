"""The package as it is installed."""

import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.clients.conftest import PACKAGE


@pytest.mark.slow
def test_wheel_has_no_server_code(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=PACKAGE,
        capture_output=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        [metadata] = [one for one in names if one.endswith("/METADATA")]
        reported = message_from_bytes(opened.read(metadata))
    modules = {
        path.name for path in (PACKAGE / "src/pytest_pandaprobe").iterdir() if path.is_file()
    }
    assert {one for one in names if "dist-info" not in one} == {
        f"pytest_pandaprobe/{name}" for name in modules
    }
    assert sorted(reported.get_all("Requires-Dist", [])) == ["httpx>=0.27", "pytest>=8.3"]
