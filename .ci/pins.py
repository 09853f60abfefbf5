"""Sets the digests by which images and actions are named, or checks that all of them have one.

A tag can be moved to another content, a digest can't. Without arguments the command asks the image
registries, through Docker, and the repositories of actions, through git, for what the tags are now,
and writes the digests next to the tags. With `--check` it needs no network: it lists what has no
digest, and fails if there is any.
"""

# ruff: noqa: INP001 - a command of `make`, not part of a package

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# `name:tag`, and after it the digest if there is one.
IMAGE: Final = re.compile(
    r"^(?P<before>ARG PYTHON=|FROM +|\s+image: +)(?P<name>[a-z0-9./-]+:[\w.-]+)"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?P<after>)$",
    re.MULTILINE,
)
# `owner/repository@commit # tag`, or only a tag.
ACTION: Final = re.compile(
    r"^(?P<before>\s+(?:- )?uses: +)(?P<name>[\w.-]+/[\w.-]+)@(?:(?P<digest>[0-9a-f]{40}) # )?"
    r"(?P<after>v[\w.-]+)$",
    re.MULTILINE,
)
RESOLVE_MAX_S: Final = 60


def image_digest(found: re.Match[str]) -> str:
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"]
    return answer([*command, found["name"]])


def action_commit(found: re.Match[str]) -> str:
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    tag = f"refs/tags/{found['after']}"
    return commit_of(answer(["git", "ls-remote", f"{server}/{found['name']}", tag, f"{tag}^{{}}"]))


def commit_of(lines: str) -> str:
    """The commit in what git says about a tag: of an annotated one it is in the second line."""
    return lines.splitlines()[-1].split()[0]


def answer(command: list[str]) -> str:
    done = subprocess.run(  # noqa: S603 - names come from our own files
        command, check=True, timeout=RESOLVE_MAX_S, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


type Resolve = Callable[[re.Match[str]], str]

KINDS: Final[tuple[tuple[str, re.Pattern[str], Resolve], ...]] = (
    ("docker/Dockerfile", IMAGE, image_digest),
    ("docker/compose*.yaml", IMAGE, image_digest),
    (".github/workflows/*.yaml", ACTION, action_commit),
)


def pinned(text: str, names: re.Pattern[str], resolve: Resolve) -> str:
    """The text of a file with the digest that `resolve` finds for each name, after its tag."""

    def line(found: re.Match[str]) -> str:
        comment = f" # {found['after']}" if found["after"] else ""
        return f"{found['before']}{found['name']}@{resolve(found)}{comment}"

    return names.sub(line, text)


def unpinned(root: Path) -> list[str]:
    """What has no digest, with its file."""
    return [
        f"{file.relative_to(root)}: {found['name']}"
        for pattern, names, _ in KINDS
        for file in sorted(root.glob(pattern))
        for found in names.finditer(file.read_text())
        if found["digest"] is None
    ]


def main(arguments: list[str]) -> None:
    if arguments == ["--check"]:
        if missing := unpinned(ROOT):
            sys.exit("\n".join([*missing, "not named by a digest: run `make pins`"]))
        return
    for pattern, names, resolve in KINDS:
        for file in sorted(ROOT.glob(pattern)):
            file.write_text(pinned(file.read_text(), names, resolve))
            print(f"pinned {file.relative_to(ROOT)}")  # noqa: T201 - a command


if __name__ == "__main__":
    main(sys.argv[1:])
