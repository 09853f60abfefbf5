"""Writes the software bill of materials (SBOM) of each lock file, in the format CycloneDX.

It lists every package that the image contains, with its version and the hashes of its files, and
the files of Swagger UI and the packages of the dashboard, which are in the repository. Equal inputs
give equal files.
"""

# ruff: noqa: INP001 - a command of `make`, not part of a package

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

ROOT: Final = Path(__file__).parents[1]
# What the image is built from: without and with the optional extras.
LOCKS: Final = {
    "requirements.lock": "sbom.cdx.json",
    "requirements-extras.lock": "sbom-extras.cdx.json",
}
VENDORED: Final = ROOT / "entrypoints/http/pages/swagger-ui/vendored.json"
DASHBOARD: Final = ROOT / "entrypoints/dashboard/package-lock.json"
WRITE_MAX_S: Final = 120


def of_lock(lock: str) -> dict[str, Any]:
    """The document of a lock file, with our product as the root component."""
    options = ["--output-reproducible", "--pyproject", "pyproject.toml", "--of", "JSON"]
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", *options, lock]
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        command, cwd=ROOT, check=True, timeout=WRITE_MAX_S, stdout=subprocess.PIPE
    )
    document: dict[str, Any] = json.loads(done.stdout)
    for component in document["components"]:
        component.pop("description", None)  # the lines of the lock file, whose hashes are listed
    return document


def vendored() -> dict[str, Any]:
    """The component whose files are in the repository."""
    said = json.loads(VENDORED.read_text())
    return of_npm(said["package"], said["version"], said["integrity"])


def bundled() -> list[dict[str, Any]]:
    """The components that are built into the dashboard."""
    packages = json.loads(DASHBOARD.read_text())["packages"]
    return [
        of_npm(path.removeprefix("node_modules/"), said["version"], said["integrity"])
        for path, said in packages.items()
        if path and not said.get("dev")
    ]


def of_npm(name: str, version: str, integrity: str) -> dict[str, Any]:
    digest = base64.b64decode(integrity.removeprefix("sha512-")).hex()
    return {
        "bom-ref": f"vendored-{name}",
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:npm/{quote(name)}@{version}",
        "hashes": [{"alg": "SHA-512", "content": digest}],
    }


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for lock, name in LOCKS.items():
        document = of_lock(lock)
        document["components"] += [vendored(), *bundled()]
        (folder / name).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
        print(f"{folder / name}: {len(document['components'])} components")  # noqa: T201 - a command


if __name__ == "__main__":
    main(Path(sys.argv[1]))
