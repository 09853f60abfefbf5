"""The command line: `pandaprobe-server`.

Each command imports its modules only when it runs, so that `serve` starts quickly.
"""

import argparse
import asyncio
import gc
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

from domain.errors import Failure, Invalid
from entrypoints.cli.arguments import (
    DAY_S,
    DEV_DEFAULTS,
    Command,
    Option,
    Parser,
    chain_head,
    command,
    duration,
    instant,
    key_id,
    option,
    whole_number,
)
from entrypoints.composition.identity_provider import provider_problems
from entrypoints.setting_checks import (
    check_mcp_is_installed,
    database_url_problems,
    default_password_problems,
    missing_extras,
    model_problems,
    port_problems,
    redis_url_problems,
    storage_problems,
)
from entrypoints.settings import PREFIX, Settings, SettingsError, read_settings, with_defaults
from entrypoints.startup import CommandError, check_layout, check_servers

PROGRAM: Final = "pandaprobe-server"
SEED_TRACES_MAX: Final = 10_000_000
TABLE_GROUPS_MAX: Final = 256  # each process has a pool of connections for each that it serves
SEED_DAYS_MAX: Final = 3_650

_parser: Final = Parser(
    prog=PROGRAM,
    description="Durable traces, sessions and evaluations of LLM agents.",
    epilog="Settings are environment variables: docs/operation/settings.md. "
    f"`{PROGRAM} <command> --help` explains a command.",
)
_commands: Final = _parser.add_subparsers(title="commands", metavar="<command>", required=True)
_BACKUP_FOLDER: Final = option("folder", type=Path, metavar="FOLDER", help="folder of the backup")

_ORGANIZATION_OF_TOKEN: Final = option(
    "--organization",
    metavar="ID",
    help="of the project, for a token of a person in several; default: that person's first",
)
_CLIENT_OPTIONS: Final = (
    option("--url", metavar="URL", help="address of the API"),
    option("--key", metavar="KEY", help="API key or token; ps shows it, so prefer the environment"),
    option("--project", metavar="NAME", help="created if it doesn't exist; with a token its id"),
    _ORGANIZATION_OF_TOKEN,
)
_CLIENT_DEFAULTS: Final = (
    f"The defaults of --url, --key and --project are {PREFIX}ENDPOINT, {PREFIX}API_KEY and "
    f"{PREFIX}PROJECT_NAME, or the values of a running `dev`."
)


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Runs one command. Returns 0: done; 1: it failed; 2: an invalid option or setting.

    `gate` has statuses of its own.
    """
    arguments, unknown = _parser.parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    status: int | None = arguments.error_status
    try:
        check_layout()
        environ = with_defaults(environ, arguments.defaults)
        if arguments.uses_dev_servers:
            environ = _add_dev_servers(environ)
        arguments.environ = environ
        run: Command = arguments.command
        # Every command refuses an incomplete identity provider and a default password.
        checks = (
            *(provider_problems, default_password_problems),
            *(database_url_problems, redis_url_problems, missing_extras, storage_problems),
            *(port_problems, model_problems),
        )
        return run(arguments, read_settings(environ, *checks))
    except SettingsError as error:
        if arguments.command is _doctor:
            from entrypoints.cli import doctor  # noqa: PLC0415

            return doctor.report_invalid_settings(str(error), as_json=arguments.json)
        return _fail(str(error), status or 2)
    except CommandError as error:
        return _fail(str(error), status or 1)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, Failure):
            message = _message_of(error)
        elif status is None:
            raise
        else:
            traceback.print_exc()
            message = "an unexpected error"
        return _fail(message, status or 1)


def _message_of(failure: Failure) -> str:
    """What to change; a line for each invalid value."""
    if not isinstance(failure, Invalid):
        return failure.message
    return "\n".join(f"{one.field}: {one.message}".removeprefix(": ") for one in failure.errors)


def _fail(message: str, code: int) -> int:
    with suppress(BrokenPipeError):  # the reader is gone, and the status tells all the same
        for line in message.splitlines():
            print(f"{PROGRAM}: {line}", file=sys.stderr)
    return code


def _add_dev_servers(environ: Mapping[str, str]) -> dict[str, str]:
    """Adds the missing addresses of servers, if a `dev` runs on the same folder."""
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    data_dir = read_settings(environ, provider_problems).data_dir
    return with_defaults(environ, dev_supervisor.running_servers(data_dir))


def _organization(owner: str) -> Option:
    help_ = f"the organization of the {owner}; default with `dev`: the first one"
    return option("--organization", metavar="ID", help=help_)


@command(
    _commands,
    "dev",
    summary="run everything on this machine: private servers, the API and a worker",
    description="Starts a private PostgreSQL and Valkey on the data folder, migrates, creates "
    "a first organization, project and API key, and serves until Ctrl-C. When it is ready, it "
    "prints the key and a `curl` command to try, and writes dev.env in the data folder.\n\n"
    "If one of its processes exits, all are stopped and the reason is printed. Accepted data "
    "is stored, and the next start continues with it.",
    example="PANDAPROBE_PORT=9000 pandaprobe-server dev",
    defaults=DEV_DEFAULTS,
)
def _dev(_arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    return dev_supervisor.run(settings)


@command(
    _commands,
    "serve",
    option(
        "--processes",
        type=whole_number(1, 64),
        metavar="N",
        help="number of processes, which share the port, such as one for each core; default: the "
        "setting API_PROCESSES, or 1",
    ),
    option("--inherited-socket", type=int, help=argparse.SUPPRESS),  # of the command's processes
    summary="run the HTTP API on your own PostgreSQL and Redis",
    description="Serves the API until SIGTERM. Running requests are completed first. The "
    "database must be migrated. If one of several processes ends by itself, all end.",
    example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
    "    pandaprobe-server serve",
)
def _serve(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.server import serve  # noqa: PLC0415

    settings = serve.with_options(settings, arguments.processes)
    return serve.serve(settings, arguments.inherited_socket)


@command(
    _commands,
    "worker",
    option(
        "--processes",
        type=whole_number(1, 64),
        metavar="N",
        help="number of processes; default: the setting EVAL_WORKER_PROCESSES, or 1",
    ),
    option(
        "--concurrency",
        type=whole_number(1, 256),
        metavar="N",
        help="targets that a process evaluates concurrently, counted separately with and without "
        "a judge; default: the setting EVAL_WORKER_CONCURRENCY, or 12",
    ),
    option("--drain", type=whole_number(1, 20), help=argparse.SUPPRESS),  # of `dev`, in seconds
    summary="run evaluations and background tasks on your own PostgreSQL and Redis",
    description="Checks the database, and works until SIGTERM: executes evaluation runs, and "
    "deletes the rows of removed projects. Any number of workers may run. If one ends, others "
    "take over its work. While Redis is down, workers find their work in the database, a "
    "minute later than usual.",
    example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
    "    pandaprobe-server worker --processes 2",
)
def _worker(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints.worker import supervisor  # noqa: PLC0415

    settings = supervisor.with_options(settings, arguments.processes, arguments.concurrency)
    if settings.eval_worker_processes > 1:
        return supervisor.supervise(settings)
    supervisor.check_port(settings)
    gc.disable()  # as `serve` does: what is imported is never garbage
    from entrypoints.worker import worker  # noqa: PLC0415

    gc.enable()
    return worker.work(settings, drain_s=arguments.drain or supervisor.DRAIN_TIMEOUT_S)


@command(
    _commands,
    "migrate",
    option(
        "--check",
        action="store_true",
        help="change nothing; list the pending migrations, and exit with 1 if there are any",
    ),
    option(
        "--contract",
        action="store_true",
        help="also remove what only the version before uses; not while it still runs",
    ),
    summary="migrate the database to the schema of this version",
    description="Runs the pending migrations. The version before can serve meanwhile and "
    "afterwards, until `--contract` removes what only it uses. Safe to repeat, and to run on "
    "several machines concurrently.",
    example="pandaprobe-server migrate --check || pandaprobe-server migrate",
)
def _migrate(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints.composition import database  # noqa: PLC0415

    if arguments.check:
        pending = asyncio.run(database.pending(settings, contract=arguments.contract))
        print("\n".join(f"pending: {name}" for name in pending) or "The schema is up to date.")
        return 1 if pending else 0
    from entrypoints.cli import migrations  # noqa: PLC0415

    return migrations.migrate(settings, contract=arguments.contract)


def _check_migrations(settings: Settings) -> None:
    """Raises Conflict if the database lacks one, Forbidden without rights on it, Unavailable."""
    from entrypoints.composition import database  # noqa: PLC0415

    asyncio.run(database.check_migrations(settings))


@command(
    _commands,
    "distribute",
    option(
        "--check",
        action="store_true",
        help="change nothing; list what isn't placed yet, and exit with 1 if anything isn't",
    ),
    option("--dry-run", action="store_true", help="change nothing; print the statements"),
    option(
        "--groups",
        type=whole_number(1, TABLE_GROUPS_MAX),
        default=1,
        metavar="N",
        help="make groups until there are N, on the workers with the fewest: more than workers, so "
        "that some can be moved to workers that are added later",
    ),
    summary="give each worker of Citus a group of tables of projects",
    description="For a migrated database whose server has Citus and a worker; "
    "docs/operation/scaling.md says what is still missing. Places the tables of projects on one "
    "worker, with the rows that they have, and makes a group of tables for new organizations on "
    "each other worker. Stop `serve` and `worker` while rows move; groups are added while they "
    "run. Safe to repeat: run it after each `migrate`, for tables that are new, and when a worker "
    "was added.",
    example="pandaprobe-server distribute --check || pandaprobe-server distribute",
)
def _distribute(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints.cli import distribution  # noqa: PLC0415

    if arguments.check or arguments.dry_run:
        return distribution.plan(settings, arguments.groups, is_dry_run=arguments.dry_run)
    return distribution.distribute(settings, arguments.groups)


@command(
    _commands,
    "doctor",
    option("--json", action="store_true", help="print one JSON object"),
    summary="check settings, servers, schema, disks, clocks, the queue and workers",
    description="Prints a line for each check: ok, warn or fail, the finding, and advice. "
    "Exits with 1 if a check failed. Without the addresses of servers it checks those of a "
    "running `dev`.",
    example="pandaprobe-server doctor",
    uses_dev_servers=True,
)
def _doctor(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import doctor  # noqa: PLC0415

    return doctor.examine(settings, arguments.environ, as_json=arguments.json)


@command(
    _commands,
    "seed",
    option(
        "--traces",
        type=whole_number(1, SEED_TRACES_MAX),
        required=True,
        metavar="N",
        help=f"number of traces, up to {SEED_TRACES_MAX:,}",
    ),
    option(
        "--seed",
        type=whole_number(0, 2**63 - 1),
        default=1,
        metavar="INT",
        help="a different seed gives different traces; default: %(default)s",
    ),
    option("--project", default="demo", metavar="NAME", help="default: %(default)s"),
    _organization("project"),
    option(
        "--days",
        type=whole_number(1, SEED_DAYS_MAX),
        default=30,
        metavar="D",
        help="number of days that the traces cover; default: %(default)s",
    ),
    option(
        "--until",
        type=instant,
        metavar="INSTANT",
        help="end of that period, in ISO 8601; default: the start of the current hour",
    ),
    summary="fill a project with synthetic traces, for a demo or a benchmark",
    description="Generates runs of several kinds of agents with about ten spans each, and "
    "stores them as fast as they can be written. The same options generate the same traces, "
    "so that a repetition with the same --until adds none. Ctrl-C stops it; it prints how to "
    "continue. Without the addresses of servers it uses those of a running `dev`.",
    example="pandaprobe-server seed --traces 10000 --project demo",
    uses_dev_servers=True,
)
def _seed(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, uses_dev=True)
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


@command(
    _commands,
    "import",
    option("file", metavar="FILE", help="plain or gzip; -: standard input"),
    *_CLIENT_OPTIONS,
    summary="import an export into a project, over HTTP",
    description="Sends the lines of an export of `GET /traces/export` to a server, which "
    "stores the traces that it doesn't have. Run it again to resume an interrupted import. "
    "Refused lines are reported by number, and the others are imported. A truncated or "
    "altered file is reported too. In both cases the exit status is 1.\n\n" + _CLIENT_DEFAULTS,
    example="pandaprobe-server import traces.ndjson.gz --project copy",
)
def _import(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import trace_files  # noqa: PLC0415

    return trace_files.run(arguments.file, **_client_options(arguments, settings))


def _client_options(arguments: argparse.Namespace, settings: Settings) -> dict[str, str | None]:
    """Where a command that is a client of the API sends its requests, and who it is."""
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    dev_env = dev_supervisor.read_env(Path(settings.data_dir) / dev_supervisor.DEV_ENV)
    environ = {**dev_env, **arguments.environ}
    return {
        "url": arguments.url or environ.get(f"{PREFIX}ENDPOINT"),
        "key": arguments.key or environ.get(f"{PREFIX}API_KEY"),
        "project": arguments.project or environ.get(f"{PREFIX}PROJECT_NAME"),
        "organization": arguments.organization,
    }


_FILE_FORMAT: Final = option(
    "--format",
    choices=("ndjson", "csv"),
    help="default: csv for a name with .csv, else ndjson",
)


@command(
    _commands,
    "import-dataset",
    option("file", metavar="FILE", help="NDJSON or CSV, plain or gzip; -: standard input"),
    option("--dataset", required=True, metavar="NAME", help="created if it doesn't exist"),
    _FILE_FORMAT,
    option(
        "--without-links",
        action="store_true",
        help="leave out from_trace, for a project that doesn't have the traces",
    ),
    *_CLIENT_OPTIONS,
    summary="import items into a dataset, over HTTP",
    description="Sends an item a line (NDJSON) or a row (CSV, with a header). Items are written by "
    "their ids, so that a repetition changes nothing. Refused items are reported by line, and the "
    "others are imported; then the exit status is 1.\n\n" + _CLIENT_DEFAULTS,
    example="pandaprobe-server import-dataset refunds.csv --dataset refunds",
)
def _import_dataset(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import dataset_files, server_client  # noqa: PLC0415

    options = _client_options(arguments, settings)
    server = server_client.Server.from_options(**options, described_in=dataset_files.DESCRIBED_IN)
    return dataset_files.import_file(
        arguments.file,
        arguments.dataset,
        server,
        format_=arguments.format,
        with_links=not arguments.without_links,
    )


@command(
    _commands,
    "export-dataset",
    option("dataset", metavar="NAME", help="name of the dataset"),
    option("file", metavar="FILE", help="-: standard output"),
    _FILE_FORMAT,
    option("--version", metavar="HASH", help="default: the newest version"),
    option("--split", metavar="NAME", help="default: all items"),
    *_CLIENT_OPTIONS,
    summary="export a version of a dataset to a file, over HTTP",
    description="Writes the items of a version, sorted by id. Importing the file gives a version "
    "with the same hash.\n\n" + _CLIENT_DEFAULTS,
    example="pandaprobe-server export-dataset refunds refunds.csv",
)
def _export_dataset(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import dataset_files, server_client  # noqa: PLC0415

    options = _client_options(arguments, settings)
    server = server_client.Server.from_options(**options, described_in=dataset_files.DESCRIBED_IN)
    return dataset_files.export_file(
        arguments.dataset,
        arguments.file,
        server,
        format_=arguments.format,
        version=arguments.version,
        split=arguments.split,
    )


@command(
    _commands,
    "gate",
    option("base", type=UUID, metavar="BASE", help="id of the experiment to compare with"),
    option("candidate", type=UUID, nargs="?", metavar="CANDIDATE", help="id; none with --aa"),
    option("--rules", type=Path, metavar="FILE", help="TOML or JSON; default: no drop over 0.05"),
    option("--aa", action="store_true", help="compare BASE with itself, and keep its noise floor"),
    option("--base-run", type=UUID, metavar="ID", help="run whose scores replace those of BASE"),
    option("--candidate-run", type=UUID, metavar="ID", help="the same of CANDIDATE"),
    option(
        "--wait",
        type=duration,
        default="10m",
        metavar="TIME",
        help="how long to wait for running evaluations; default: %(default)s",
    ),
    option("--junit", type=Path, metavar="FILE", help="write JUnit XML"),
    option("--markdown", type=Path, metavar="FILE", help="write Markdown, for a pull request"),
    option("--json", type=Path, metavar="FILE", help="write the response"),
    *_CLIENT_OPTIONS,
    summary="compare two experiments, and exit with the verdict",
    description="Compares a candidate with a baseline by rules, over HTTP. Prints the verdict, a "
    "line for each rule, and the items that newly fail. The exit status is 0: pass, 1: regressed, "
    "2: inconclusive, 3: incomplete, 4: an error, and no verdict.\n\n" + _CLIENT_DEFAULTS,
    example='pandaprobe-server gate "$BASE" "$CANDIDATE" --rules gate.toml --junit gate.xml',
    error_status=4,
)
def _gate(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import gate, server_client  # noqa: PLC0415

    if (arguments.candidate is None) != arguments.aa:
        raise CommandError("give CANDIDATE, or --aa to compare BASE with itself")
    body = {} if arguments.rules is None else gate.read_rules(arguments.rules)
    sent = {
        "base": arguments.base,
        "candidate": arguments.candidate,
        "aa": arguments.aa,
        "base_run": arguments.base_run,
        "candidate_run": arguments.candidate_run,
    }
    options = _client_options(arguments, settings)
    server = server_client.Server.from_options(**options, described_in=gate.DESCRIBED_IN)
    reports = gate.Reports(junit=arguments.junit, markdown=arguments.markdown, json=arguments.json)
    return gate.run(server, body | sent, reports, arguments.wait)


@command(
    _commands,
    "mcp",
    option("--http", action="store_true", help="serve streamable HTTP; default: stdio"),
    option("--url", metavar="URL", help="address of the API"),
    option("--project", metavar="NAME", help="of a key; with a token its id"),
    _ORGANIZATION_OF_TOKEN,
    summary="run the MCP server, with which agents read traces",
    description="Offers eleven tools to an MCP client such as Claude Code, Cursor or VS Code: to "
    "find, read and compare traces, explain scores, and start evaluations. Without `--http` it "
    "speaks on standard input and output with one client, which starts it. With `--http` it serves "
    f"many clients on {PREFIX}MCP_PORT; each sends its own key or token. It needs the extra "
    "`mcp`.\n\n"
    f"The defaults of --url and --project are {PREFIX}ENDPOINT and {PREFIX}PROJECT_NAME, and the "
    f"key is {PREFIX}API_KEY, or the values of a running `dev`.",
    example="claude mcp add pandaprobe -- pandaprobe-server mcp",
)
def _mcp(arguments: argparse.Namespace, settings: Settings) -> int:
    check_mcp_is_installed()
    from entrypoints.cli import mcp_command  # noqa: PLC0415
    from entrypoints.processes import dev_supervisor  # noqa: PLC0415

    dev_env = dev_supervisor.read_env(Path(settings.data_dir) / dev_supervisor.DEV_ENV)
    environ = {**dev_env, **arguments.environ}
    return mcp_command.run(
        settings,
        url=arguments.url or environ.get(f"{PREFIX}ENDPOINT"),
        key=environ.get(f"{PREFIX}API_KEY"),
        project=arguments.project or environ.get(f"{PREFIX}PROJECT_NAME"),
        organization=arguments.organization,
        is_http=arguments.http,
    )


@command(
    _commands,
    "token",
    option("--email", default="dev@localhost", help="email of the user; default: %(default)s"),
    option("--name", default="Developer", help="display name; default: %(default)s"),
    option(
        "--expires",
        type=duration,
        default="12h",
        metavar="TIME",
        help="lifetime: a number and s, m, h or d, at most 366d; default: %(default)s",
    ),
    summary="print a token of the development issuer, to sign in without an identity provider",
    description="Prints a JSON Web Token signed with the key in the data folder. Only a "
    "server that runs on the same folder with PANDAPROBE_AUTH_DEV_ISSUER=on accepts it, as "
    "`dev` does.",
    example='curl -H "Authorization: Bearer $(pandaprobe-server token)" …',
    defaults=DEV_DEFAULTS,
)
def _token(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.composition import sign_in  # noqa: PLC0415

    token = sign_in.development_token(
        settings, email=arguments.email, name=arguments.name, expires_in_s=arguments.expires
    )
    print(token)
    return 0


_ORGANIZATIONS: Final = "create and move organizations"
_organization_commands: Final = _commands.add_parser(
    "organization", help=_ORGANIZATIONS, description=f"{_ORGANIZATIONS.capitalize()}."
).add_subparsers(title="commands", metavar="<command>", required=True)


@command(
    _organization_commands,
    "create",
    option("--owner", required=True, metavar="EMAIL", help="address of its owner, who is invited"),
    option("--name", default="My Organization", help="of the organization; default: %(default)s"),
    option("--project", metavar="NAME", help="name of its first project; default: onboarding"),
    option("--key", action="store_true", help="create an API key too, and print its secret, once"),
    summary="create an organization and invite its owner",
    description="Creates an organization with a project, also where no one has signed in yet. The "
    "owner signs in with this address, verified by the identity provider, and accepts the "
    "invitation. Until then the organization belongs to the operator. With `--key` programs can "
    "send traces at once. Without the addresses of servers it uses those of a running `dev`.",
    example="pandaprobe-server organization create --owner ada@example.com --project bot --key",
    uses_dev_servers=True,
)
def _create_organization(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, uses_dev=True)
    _check_migrations(settings)
    from entrypoints import provisioning  # noqa: PLC0415

    created = provisioning.create_organization(
        settings,
        name=arguments.name,
        owner=arguments.owner,
        project=arguments.project,
        with_key=arguments.key,
    )
    organization, project, invitation, secret = asyncio.run(created)
    until = invitation.expires_at.date()
    print(f"organization: {organization.id} {organization.name}")
    print(f"project: {project.id} {project.name}")
    print(f"invitation: {invitation.id} {invitation.email}, until {until}")
    if secret is not None:
        print(f"key: {secret}")
        print("Store the key now: it can't be shown again.", file=sys.stderr)
    return 0


@command(
    _organization_commands,
    "move",
    option("organization", metavar="ID", help="its id"),
    option("--to", type=whole_number(1, TABLE_GROUPS_MAX), metavar="N", help="the group"),
    option(
        "--cancel",
        action="store_true",
        help="give up a move that hasn't ended: what was copied is deleted by workers",
    ),
    summary="move the data of an organization to another group of tables",
    description="For databases with several groups (docs/operation/scaling.md). While `serve` and "
    "`worker` run. From the start to the end the organization takes no writes, and for the last "
    "seconds no reads: such requests are answered 503 with Retry-After. If the command is stopped, "
    "run it again: it goes on with the next table. It ends two minutes after the move, when "
    "nothing that was under way before writes to the old group any more.",
    example="pandaprobe-server organization move 6f1c2f0e-… --to 2",
)
def _move_organization(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints.cli import organization_moves  # noqa: PLC0415

    if arguments.cancel == (arguments.to is not None):
        raise CommandError("give either --to or --cancel")
    if arguments.cancel:
        return organization_moves.cancel(settings, arguments.organization)
    return organization_moves.move(settings, arguments.organization, arguments.to)


_KEYS: Final = "create API keys for programs"
_key_commands: Final = _commands.add_parser(
    "key", help=_KEYS, description=f"{_KEYS[0].upper()}{_KEYS[1:]}."
).add_subparsers(title="commands", metavar="<command>", required=True)


@command(
    _key_commands,
    "create",
    _organization("key"),
    option("--name", default="command line", help="of the key; default: %(default)s"),
    option(
        "--scopes",
        type=lambda text: tuple(text.split(",")),
        metavar="LIST",
        help="a list of ingest, read and evaluate, separated by commas; default: all",
    ),
    option(
        "--expires",
        type=lambda text: None if text == "never" else duration(text),
        default="never",
        choices=(None, DAY_S * 90),
        metavar="{never,90d}",
        help="default: never",
    ),
    summary="create an API key and print its secret, once",
    description="Creates an API key for all projects of an organization. Without the addresses "
    "of servers it uses those of a running `dev`.",
    example="pandaprobe-server key create --name ci --scopes ingest,read --expires 90d",
    uses_dev_servers=True,
)
def _create_key(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, uses_dev=True)
    _check_migrations(settings)
    from entrypoints import provisioning  # noqa: PLC0415

    created = provisioning.create_key(
        settings,
        organization=arguments.organization,
        name=arguments.name,
        scopes=arguments.scopes,
        lasts_s=arguments.expires,
    )
    print(asyncio.run(created))
    print("Store it now: it can't be shown again.", file=sys.stderr)
    return 0


_AUDIT: Final = "the audit logs of organizations"
_audit_commands: Final = _commands.add_parser(
    "audit", help=_AUDIT, description=f"Checks {_AUDIT}."
).add_subparsers(title="commands", metavar="<command>", required=True)


@command(
    _audit_commands,
    "verify",
    option("--organization", metavar="ID", help="only this one; default: all"),
    option(
        "--known",
        type=chain_head,
        default=None,
        metavar="NUMBER:HASH",
        help="what an earlier check of the organization printed: the log has to continue it",
    ),
    summary="check that no entry of the audit log is missing or was changed",
    description="Computes the hash of each entry again, and prints the number and the hash of the "
    "last one of each organization. Keep them outside of the database: with `--known` a log that "
    "was written again as a whole shows, too. Exits with 1 if a log isn't what was written. "
    "Without the addresses of servers it uses those of a running `dev`.",
    example="pandaprobe-server audit verify",
    uses_dev_servers=True,
)
def _verify_audit_log(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, uses_dev=True)
    _check_migrations(settings)
    from entrypoints.cli import audit_logs  # noqa: PLC0415

    return audit_logs.verify(settings, arguments.organization, arguments.known)


@command(
    _commands,
    "remap",
    option("--project", metavar="ID", help="only this one; default: all"),
    option(
        "--dry-run",
        action="store_true",
        help="change nothing; print how much would change, and the first fields that would",
    ),
    summary="apply the current mapping of OpenTelemetry to what is stored",
    description="Maps the stored fragments of spans again that an earlier version of the server "
    "mapped, computes their traces, and counts what changed. Works in small batches; the service "
    "keeps running. Stopped, it continues where it was when it is run again. Without the addresses "
    "of servers it uses those of a running `dev`.",
    example="pandaprobe-server remap --dry-run",
    uses_dev_servers=True,
)
def _remap(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url", uses_dev=True)
    _check_migrations(settings)
    from entrypoints.cli import remapping  # noqa: PLC0415

    return remapping.remap(settings, arguments.project, is_dry_run=arguments.dry_run)


_SECRETS: Final = "keys that encrypt stored secrets, such as those of webhooks"
_secret_commands: Final = _commands.add_parser(
    "secrets", help=_SECRETS, description=f"Manages the {_SECRETS}."
).add_subparsers(title="commands", metavar="<command>", required=True)


@command(
    _secret_commands,
    "generate-key",
    option(
        "--id",
        type=key_id,
        default=None,
        metavar="ID",
        help="names the key, up to 64 letters, digits, `.`, `_` and `-`; default: a random one",
    ),
    summary="print a new key for PANDAPROBE_SECRET_KEYS",
    description="Prints a random key in the form `id:key`. Store it where the backups of the "
    "database aren't: without it, the secrets in the database can't be read.",
    example="pandaprobe-server secrets generate-key --id 2027-01",
)
def _generate_secret_key(arguments: argparse.Namespace, _settings: Settings) -> int:
    from entrypoints.cli import secret_keys  # noqa: PLC0415

    return secret_keys.generate(arguments.id)


@command(
    _secret_commands,
    "rotate",
    summary="encrypt all stored secrets with the first of PANDAPROBE_SECRET_KEYS",
    description="Reads each stored secret that another key has encrypted, and encrypts it with "
    "the first key. The service keeps running. Stopped, it continues where it was when it is run "
    "again. Exits with 1 if secrets with other keys remain. Without the addresses of servers it "
    "uses those of a running `dev`.",
    example="pandaprobe-server secrets rotate",
    uses_dev_servers=True,
)
def _rotate_secrets(_arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url", uses_dev=True)
    _check_migrations(settings)
    from entrypoints.cli import secret_keys  # noqa: PLC0415

    return secret_keys.rotate(settings)


@command(
    _commands,
    "backup",
    _BACKUP_FOLDER,
    summary="write the database of `dev` to a folder",
    description="Writes a consistent snapshot of the database in the data folder to a new "
    "folder. A running `dev` continues to run; without one, PostgreSQL is started for the "
    "backup. The backup contains all traces and the digests of keys: keep it safe.",
    example="pandaprobe-server backup backups/monday",
)
def _backup(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.backup(settings, arguments.folder)


@command(
    _commands,
    "restore",
    _BACKUP_FOLDER,
    option("--verify", action="store_true", help="change nothing; exit with 1 if it is incomplete"),
    summary="fill a new data folder from a backup, or only verify one",
    description="Restores into the data folder, which must not contain a database, compares "
    "every table with the backup's manifest, and migrates to the newest schema. `dev` then "
    "uses it; API keys stay valid.\n\nWith --verify it does all that in a temporary folder, "
    "and reports whether the backup is complete.",
    example="pandaprobe-server restore backups/monday --verify",
)
def _restore(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints.cli import backups  # noqa: PLC0415

    return backups.restore(settings, arguments.folder, only_verify=arguments.verify)
