"""Fetches the Swagger UI files that `make vendor` keeps in the repository, and checks their hashes.

npm's own configuration selects the registry. `vendored.json` next to the files has the release,
the registry's hash of its archive, and the hash of each file. With a version as its argument, the
command takes that release instead and stores its hashes.
"""

# ruff: noqa: INP001 - a command of `make`, not part of a package

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "entrypoints/http/pages/swagger-ui"
SAID = FOLDER / "vendored.json"
FETCH_MAX_S = 300


def digest(algorithm: str, content: bytes) -> str:
    """The hash as browsers and npm write it (Subresource Integrity)."""
    found = hashlib.new(algorithm, content).digest()
    return f"{algorithm}-{base64.b64encode(found).decode()}"


def archive(package: str, version: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"{package}@{version}"]
        subprocess.run(  # noqa: S603 - package and version are ours
            command, cwd=folder, check=True, timeout=FETCH_MAX_S, stdout=subprocess.DEVNULL
        )
        [found] = Path(folder).glob("*.tgz")
        return found.read_bytes()


def files(content: bytes, names: list[str]) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as whole:
        whole.write(content)
        whole.seek(0)
        with tarfile.open(fileobj=whole, mode="r:gz") as tar:
            found = {name: tar.extractfile(f"package/{name}") for name in names}
            return {name: one.read() for name, one in found.items() if one is not None}


def main(wanted: str | None) -> None:
    said = json.loads(SAID.read_text())
    version = wanted or said["version"]
    content = archive(said["package"], version)
    taken = files(content, list(said["files"]))
    found = said | {
        "version": version,
        "integrity": digest("sha512", content),
        "files": {name: digest("sha384", one) for name, one in taken.items()},
    }
    if wanted is None and found != said:
        sys.exit(f"{said['package']} {version} doesn't match vendored.json: {found}")
    for name, one in taken.items():
        (FOLDER / name).write_bytes(one)
    SAID.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{said['package']} {version}: {sum(map(len, taken.values()))} bytes")  # noqa: T201 - a command


if __name__ == "__main__":
    main(next(iter(sys.argv[1:]), None))
