"""The command line: `pandaprobe-server`.

Each command imports its modules only when it runs, so that `serve` starts quickly.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from entrypoints.cli.access_commands import add_access
from entrypoints.cli.arguments import (
    DEV_DEFAULTS,
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
from entrypoints.default_passwords import default_password_problems
from entrypoints.extras import missing_extras
from entrypoints.settings import Settings, SettingsError, read_settings
from entrypoints.startup import CommandError, check_layout, check_servers

PROGRAM: Final = "pandaprobe-server"
SEED_TRACES_MAX: Final = 10_000_000
SEED_DAYS_MAX: Final = 3_650


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Runs one command. Returns 0: done; 1: it failed; 2: an invalid option or setting."""
    arguments = _create_parser().parse_args(argv)
    try:
        check_layout()
        environ = {**arguments.defaults, **environ}
        if arguments.uses_dev_servers:
            environ = _add_dev_servers(environ)
        arguments.environ = environ
        command: Command = arguments.command
        # Every command refuses an incomplete identity provider and a default password.
        checks = (provider_problems, default_password_problems, missing_extras)
        return command(arguments, read_settings(environ, *checks))
    except SettingsError as error:
        if arguments.command is _doctor:
            return _report_to_doctor(str(error), arguments)
        return _fail(str(error), 2)
    except CommandError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from domain.errors import Failure  # noqa: PLC0415

        if isinstance(error, Failure):
            return _fail(error.message, 1)
        raise


def _fail(message: str, code: int) -> int:
    for line in message.splitlines():
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return code


def _add_dev_servers(environ: Mapping[str, str]) -> dict[str, str]:
    """Adds the missing addresses of servers, if a `dev` runs on the same folder."""
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    return {
        **dev_supervisor.running_servers(read_settings(environ, provider_problems).data_dir),
        **environ,
    }


def _dev(_arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    return dev_supervisor.run(settings)


def _serve(_arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.server import serve  # noqa: PLC0415

    return serve.serve(settings)


def _worker(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints.worker import worker  # noqa: PLC0415

    return worker.work(worker.with_options(settings, arguments.processes, arguments.concurrency))


def _migrate(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints.composition import root  # noqa: PLC0415

    if arguments.check:
        pending = asyncio.run(root.pending(settings))
        print("\n".join(f"pending: {name}" for name in pending) or "The schema is up to date.")
        return 1 if pending else 0
    done = asyncio.run(root.migrate(settings))
    print("\n".join(f"migrated: {name}" for name in done) or "The schema is up to date.")
    return 0


def _seed(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints.demo_data import generator, seed  # noqa: PLC0415

    recipe = generator.Recipe(
        traces=arguments.traces,
        seed=arguments.seed,
        days=arguments.days,
        until=arguments.until or seed.this_hour(),
    )
    return seed.run(
        settings, recipe, organization=arguments.organization, project=arguments.project
    )


def _doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import doctor  # noqa: PLC0415

    return doctor.examine(settings, arguments.environ, as_json=arguments.json)


def _report_to_doctor(problems: str, arguments: argparse.Namespace) -> int:
    from entrypoints.cli import doctor  # noqa: PLC0415

    return doctor.report_invalid_settings(problems, as_json=arguments.json)


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Durable traces, sessions and evaluations of LLM agents.",
        epilog="Settings are environment variables: docs/settings.md. "
        f"`{PROGRAM} <command> --help` explains a command.",
    )
    commands = parser.add_subparsers(title="commands", metavar="<command>", required=True)
    _add_processes(commands)
    _add_maintenance(commands)
    _add_seed(commands)
    add_import(commands)
    add_access(commands)
    add_backups(commands)
    return parser


def _add_processes(commands: Subcommands) -> None:
    """Adds the commands that run until they are stopped: `dev`, `serve`, `worker`."""
    add_command(
        commands,
        "dev",
        _dev,
        summary="run everything on this machine: private servers, the API and a worker",
        description="Starts a private PostgreSQL and Valkey on the data folder, migrates, creates "
        "a first organization, project and API key, and serves until Ctrl-C. When it is ready, it "
        "prints the key and a `curl` command to try, and writes dev.env in the data folder.\n\n"
        "If one of its processes exits, all are stopped and the reason is printed. Accepted data "
        "is stored, and the next start continues with it.",
        example="PANDAPROBE_PORT=9000 pandaprobe-server dev",
        defaults=DEV_DEFAULTS,
    )
    add_command(
        commands,
        "serve",
        _serve,
        summary="run the HTTP API on your own PostgreSQL and Redis",
        description="Serves the API in one process until SIGTERM. Running requests are "
        "completed first. The database must be migrated.",
        example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
        "    pandaprobe-server serve",
    )
    worker = add_command(
        commands,
        "worker",
        _worker,
        summary="run evaluations and background tasks on your own PostgreSQL and Redis",
        description="Checks the database, and works until SIGTERM: executes evaluation runs, and "
        "deletes the rows of removed projects. Any number of workers may run. If one ends, others "
        "take over its work. While Redis is down, workers find their work in the database, a "
        "minute later than usual.",
        example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
        "    pandaprobe-server worker --processes 2",
    )
    worker.add_argument(
        "--processes",
        type=whole_number(1, 64),
        metavar="N",
        help="number of processes; default: the setting EVAL_WORKER_PROCESSES, or 1",
    )
    worker.add_argument(
        "--concurrency",
        type=whole_number(1, 256),
        metavar="N",
        help="targets that a process evaluates concurrently, counted separately with and without "
        "a judge; default: the setting EVAL_WORKER_CONCURRENCY, or 12",
    )


def _add_maintenance(commands: Subcommands) -> None:
    """Adds `migrate` and `doctor`."""
    migrate = add_command(
        commands,
        "migrate",
        _migrate,
        summary="migrate the database to the newest schema",
        description="Runs the pending migrations. Safe to repeat, and to run on several machines "
        "concurrently.",
        example="pandaprobe-server migrate --check || pandaprobe-server migrate",
    )
    migrate.add_argument(
        "--check",
        action="store_true",
        help="change nothing; list the pending migrations, and exit with 1 if there are any",
    )
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        summary="check settings, servers, schema, disks, clocks, the queue and workers",
        description="Prints a line for each check: ok, warn or fail, the finding, and advice. "
        "Exits with 1 if a check failed. Without the addresses of servers it checks those of a "
        "running `dev`.",
        example="pandaprobe-server doctor",
        uses_dev_servers=True,
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _add_seed(commands: Subcommands) -> None:
    """Adds `seed`."""
    seed = add_command(
        commands,
        "seed",
        _seed,
        summary="fill a project with synthetic traces, for a demo or a benchmark",
        description="Generates runs of several kinds of agents with about ten spans each, and "
        "stores them as fast as they can be written. The same options generate the same traces, "
        "so that a repetition adds none. Ctrl-C stops it. Without the addresses of servers it "
        "uses those of a running `dev`.",
        example="pandaprobe-server seed --traces 10000 --project demo",
        uses_dev_servers=True,
    )
    seed.add_argument(
        "--traces",
        type=whole_number(1, SEED_TRACES_MAX),
        required=True,
        metavar="N",
        help=f"number of traces, up to {SEED_TRACES_MAX:,}",
    )
    seed.add_argument(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=1,
        metavar="INT",
        help="a different seed gives different traces; default: %(default)s",
    )
    seed.add_argument("--project", default="demo", metavar="NAME", help="default: %(default)s")
    add_organization(seed, "the organization of the project")
    seed.add_argument(
        "--days",
        type=whole_number(1, SEED_DAYS_MAX),
        default=30,
        metavar="D",
        help="number of days that the traces cover; default: %(default)s",
    )
    seed.add_argument(
        "--until",
        type=instant,
        metavar="INSTANT",
        help="end of that period, in ISO 8601; default: the start of the current hour",
    )


if __name__ == "__main__":
    sys.exit(main())
