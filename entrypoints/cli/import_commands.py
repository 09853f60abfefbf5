"""The command that puts an export back: `import`."""

import argparse
from pathlib import Path

from entrypoints.cli.arguments import Subcommands, add_command
from entrypoints.settings import PREFIX, Settings


def add_import(commands: Subcommands) -> None:
    """`import`."""
    put_back = add_command(
        commands,
        "import",
        _import,
        summary="put an export back into a project, over HTTP",
        description="Sends the lines of an export of `GET /traces/export` to a server, which "
        "stores what it doesn't have. Safe to run again: where it was stopped it goes on. Lines "
        "that can't be taken are told by their numbers and cost only themselves; a file that is "
        "broken off or altered is told too, and the exit status is then 1.\n\n"
        f"What isn't given is taken from {PREFIX}ENDPOINT, {PREFIX}API_KEY and "
        f"{PREFIX}PROJECT_NAME, or from a running `dev`.",
        example="pandaprobe-server import traces.ndjson.gz --project copy",
    )
    put_back.add_argument("file", metavar="FILE", help="plain or gzip; -: the standard input")
    put_back.add_argument("--url", metavar="URL", help="where the API is")
    put_back.add_argument("--key", metavar="KEY", help="better in the environment: ps shows it")
    put_back.add_argument("--project", metavar="NAME", help="is made where there is none")


def _import(given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import import_client  # noqa: PLC0415
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    known = {
        **dev_supervisor.read_env(Path(settings.data_dir) / dev_supervisor.DEV_ENV),
        **given.environ,
    }
    destination = import_client.Destination.of(
        url=given.url or known.get(f"{PREFIX}ENDPOINT"),
        key=given.key or known.get(f"{PREFIX}API_KEY"),
        project=given.project or known.get(f"{PREFIX}PROJECT_NAME"),
    )
    return import_client.run(given.file, destination)
