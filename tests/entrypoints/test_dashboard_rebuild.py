"""Building the dashboard again gives the same bytes. Needs npm and its registry."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from entrypoints.dashboard import BUILT, SOURCES

BUILD_FILES = ("build.mjs", "package.json", "package-lock.json", "tsconfig.json")
REBUILD_MAX_S = 300


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.exhaustive  # tests/architecture/test_dashboard_build.py finds changed sources
@pytest.mark.slow
def test_rebuild_gives_the_same_bytes(tmp_path):
    """In a folder of its own: npm installs the packages of the lock file there."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    for name in ("src", "tests", "test.mjs", *BUILD_FILES):
        copy = shutil.copytree if (SOURCES / name).is_dir() else shutil.copy2
        copy(SOURCES / name, tmp_path / name)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=REBUILD_MAX_S,
            check=False,
        )

    installed = run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
    if installed.returncode != 0 and os.environ.get("CI") != "true":
        pytest.skip("npm could not install the packages: no registry is reachable")
    assert installed.returncode == 0, installed.stderr
    for script in ("types", "test", "build"):
        done = run(npm, "run", "--silent", script)
        assert done.returncode == 0, done.stdout + done.stderr
    rebuilt, committed = files(tmp_path / "built"), files(BUILT)
    assert rebuilt.keys() == committed.keys()
    assert [name for name in rebuilt if rebuilt[name] != committed[name]] == []
