"""The command line: `pandaprobe-server`.

Nothing is imported before it is known what is asked for: `serve` has to be quick.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from entrypoints.cli.access_commands import add_access
from entrypoints.cli.arguments import (
    DEV,
    Command,
    Subcommands,
    add_command,
    add_organization,
    instant,
    whole_number,
)
from entrypoints.cli.backup_commands import add_backups
from entrypoints.cli.import_commands import add_import
from entrypoints.composition.identity_provider import provider_problems
from entrypoints.default_passwords import published_secrets
from entrypoints.extras import missing_extras
from entrypoints.settings import Settings, SettingsError, read_settings
from entrypoints.startup import CommandError, check_layout, check_servers

PROGRAM: Final = "pandaprobe-server"
SEED_TRACES_MAX: Final = 10_000_000
SEED_DAYS_MAX: Final = 3_650


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Runs one command. 0: done; 1: it couldn't be; 2: the command line or a setting is wrong."""
    given = _parser().parse_args(arguments)
    try:
        check_layout()
        told = {**given.defaults, **environ}
        if given.joins_dev:
            told = _joined(told)
        given.environ = told
        command: Command = given.command
        # Half an identity provider stops every command, and so does a secret that is none.
        checks = (provider_problems, published_secrets, missing_extras)
        return command(given, read_settings(told, *checks))
    except SettingsError as error:
        if given.command is _doctor:
            return _told_by_doctor(str(error), given)
        return _refused(str(error), 2)
    except CommandError as error:
        return _refused(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from domain.errors import Failure  # noqa: PLC0415

        if isinstance(error, Failure):
            return _refused(error.message, 1)
        raise


def _refused(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return code


def _joined(environ: Mapping[str, str]) -> dict[str, str]:
    """With the addresses of a `dev` that runs on the same folder, where none are given."""
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    return {
        **dev_supervisor.running_servers(read_settings(environ, provider_problems).data_dir),
        **environ,
    }


def _dev(_given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    return dev_supervisor.run(settings)


def _serve(_given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.server import serve  # noqa: PLC0415

    return serve.serve(settings)


def _worker(given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints.worker import worker  # noqa: PLC0415

    return worker.work(worker.with_options(settings, given.processes, given.concurrency))


def _migrate(given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints.composition import root  # noqa: PLC0415

    if given.check:
        pending = asyncio.run(root.pending(settings))
        print("\n".join(f"pending: {name}" for name in pending) or "The schema is up to date.")
        return 1 if pending else 0
    done = asyncio.run(root.migrate(settings))
    print("\n".join(f"migrated: {name}" for name in done) or "The schema is up to date.")
    return 0


def _seed(given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints.demo_data import generator, seed  # noqa: PLC0415

    recipe = generator.Recipe(
        traces=given.traces, seed=given.seed, days=given.days, until=given.until or seed.this_hour()
    )
    return seed.run(settings, recipe, organization=given.organization, project=given.project)


def _doctor(given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import doctor  # noqa: PLC0415

    return doctor.examine(settings, given.environ, as_json=given.json)


def _told_by_doctor(problems: str, given: argparse.Namespace) -> int:
    from entrypoints.cli import doctor  # noqa: PLC0415

    return doctor.refused(problems, as_json=given.json)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Durable traces, sessions and evaluations of LLM agents.",
        epilog="Settings are environment variables: docs/settings.md. "
        f"`{PROGRAM} <command> --help` explains a command.",
    )
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    _add_processes(commands)
    _add_upkeep(commands)
    _add_seed(commands)
    add_import(commands)
    add_access(commands)
    add_backups(commands)
    return parser


def _add_processes(commands: Subcommands) -> None:
    """What runs until it is stopped: `dev`, `serve`, `worker`."""
    add_command(
        commands,
        "dev",
        _dev,
        summary="everything on this machine: private servers, the API and a worker",
        description="Starts a private PostgreSQL and Valkey on the data folder, migrates, makes "
        "a first organization, project and API key, and serves until Ctrl-C. When it is ready it "
        "prints the key and a `curl` to try, and writes them to dev.env in the data folder.\n\n"
        "Where one of its processes ends by itself, all are stopped and the reason is told; "
        "what was accepted is kept, and the next start goes on with it.",
        example="PANDAPROBE_PORT=9000 pandaprobe-server dev",
        defaults=DEV,
    )
    add_command(
        commands,
        "serve",
        _serve,
        summary="the HTTP API, on your own PostgreSQL and Redis",
        description="Serves the API in one process until SIGTERM; requests under way are "
        "answered first. The database must be migrated.",
        example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
        "    pandaprobe-server serve",
    )
    main = add_command(
        commands,
        "worker",
        _worker,
        summary="what is done later, on your own PostgreSQL and Redis",
        description="Checks the database, and works until SIGTERM: evaluates what runs ask for, "
        "and takes away the rows of what was removed. Any number may run; what one leaves behind, "
        "however it ends, another takes up. While Redis is away it finds its work in the "
        "database, a minute later than it would.",
        example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
        "    pandaprobe-server worker --processes 2",
    )
    main.add_argument(
        "--processes",
        type=whole_number(1, 64),
        metavar="N",
        help="how many share the work; default: 1, or what EVAL_WORKER_PROCESSES says",
    )
    main.add_argument(
        "--concurrency",
        type=whole_number(1, 256),
        metavar="N",
        help="targets that a process evaluates at once, of those that ask a judge and of those "
        "that don't; default: 12, or what EVAL_WORKER_CONCURRENCY says",
    )


def _add_upkeep(commands: Subcommands) -> None:
    """`migrate` and `doctor`."""
    migrate = add_command(
        commands,
        "migrate",
        _migrate,
        summary="bring the database to the newest schema",
        description="Runs the migrations that the database lacks. Safe to run again, and from "
        "several machines at once.",
        example="pandaprobe-server migrate --check || pandaprobe-server migrate",
    )
    migrate.add_argument(
        "--check",
        action="store_true",
        help="change nothing; list what is pending, and exit with 1 if anything is",
    )
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        summary="check settings, servers, schema, disks, clocks, the queue and workers",
        description="Prints a line for each check: ok, warn or fail, what was found, and what to "
        "do. Exits with 1 if one failed. Without the addresses of servers it looks at those of a "
        "running `dev`.",
        example="pandaprobe-server doctor",
        joins_dev=True,
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _add_seed(commands: Subcommands) -> None:
    """`seed`."""
    seed = add_command(
        commands,
        "seed",
        _seed,
        summary="fill a project with synthetic traces, for a demo or a benchmark",
        description="Makes runs of several kinds of agents, of about ten spans each, and stores "
        "them as fast as they can be written. The same options give the same traces: what is "
        "there already is merged, never doubled. Ctrl-C stops it. Without the addresses of "
        "servers it works on those of a running `dev`.",
        example="pandaprobe-server seed --traces 10000 --project demo",
        joins_dev=True,
    )
    seed.add_argument(
        "--traces",
        type=whole_number(1, SEED_TRACES_MAX),
        required=True,
        metavar="N",
        help=f"how many, up to {SEED_TRACES_MAX:,}",
    )
    seed.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=1,
        metavar="INT",
        help="another one gives other traces; default: %(default)s",
    )
    seed.add_argument("--project", default="demo", metavar="NAME", help="default: %(default)s")
    add_organization(seed, "whose project")
    seed.add_argument(
        "--days",
        type=whole_number(1, SEED_DAYS_MAX),
        default=30,
        metavar="D",
        help="over how many days they are spread; default: %(default)s",
    )
    seed.add_argument(
        "--until",
        type=instant,
        metavar="INSTANT",
        help="the end of that time, in ISO 8601; default: the hour that has begun last",
    )


if __name__ == "__main__":
    sys.exit(main())
