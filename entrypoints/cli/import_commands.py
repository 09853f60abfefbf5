"""The command `import`."""

import argparse
from pathlib import Path

from entrypoints.cli.arguments import Subcommands, add_command
from entrypoints.settings import PREFIX, Settings


def add_import(commands: Subcommands) -> None:
    """Adds `import`."""
    command = add_command(
        commands,
        "import",
        _import,
        summary="import an export into a project, over HTTP",
        description="Sends the lines of an export of `GET /traces/export` to a server, which "
        "stores the traces that it doesn't have. Run it again to resume an interrupted import. "
        "Refused lines are reported by number, and the others are imported. A truncated or "
        "altered file is reported too. In both cases the exit status is 1.\n\n"
        f"The defaults of the options are {PREFIX}ENDPOINT, {PREFIX}API_KEY and "
        f"{PREFIX}PROJECT_NAME, or the values of a running `dev`.",
        example="pandaprobe-server import traces.ndjson.gz --project copy",
    )
    command.add_argument("file", metavar="FILE", help="plain or gzip; -: standard input")
    command.add_argument("--url", metavar="URL", help="address of the API")
    command.add_argument(
        "--key", metavar="KEY", help="API key; ps shows it, so prefer the environment"
    )
    command.add_argument("--project", metavar="NAME", help="created if it doesn't exist")


def _import(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import import_client  # noqa: PLC0415
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    environ = {
        **dev_supervisor.read_env(Path(settings.data_dir) / dev_supervisor.DEV_ENV),
        **arguments.environ,
    }
    destination = import_client.Destination.from_options(
        url=arguments.url or environ.get(f"{PREFIX}ENDPOINT"),
        key=arguments.key or environ.get(f"{PREFIX}API_KEY"),
        project=arguments.project or environ.get(f"{PREFIX}PROJECT_NAME"),
    )
    return import_client.run(arguments.file, destination)
