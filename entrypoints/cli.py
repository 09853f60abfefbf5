"""The command line: `pandaprobe-server`.

Nothing is imported before it is known what is asked for: `serve` has to be quick.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from entrypoints.arguments import DAY_S, Command, Subcommands, add_command, duration
from entrypoints.settings import Settings, SettingsError, read_settings
from entrypoints.startup import CommandError, check_layout, check_servers

PROGRAM: Final = "pandaprobe-server"

# What `dev` and its tokens take for said where the environment says nothing.
DEV: Final = {
    "PANDAPROBE_APP_ENV": "development",
    "PANDAPROBE_LOG_FORMAT": "console",
    "PANDAPROBE_AUTH_DEV_ISSUER": "on",
}


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Runs one command. 0: done; 1: it couldn't be; 2: the command line or a setting is wrong."""
    given = _parser().parse_args(arguments)
    try:
        check_layout()
        told = {**given.defaults, **environ}
        if given.joins_dev:
            told = _joined(told)
        command: Command = given.command
        return command(given, read_settings(told))
    except SettingsError as error:
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
    from entrypoints import dev  # noqa: PLC0415

    return {**dev.running_servers(read_settings(environ).data_dir), **environ}


def _dev(_given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints import dev  # noqa: PLC0415

    return dev.run(settings)


def _serve(_given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints import serving  # noqa: PLC0415

    return serving.serve(settings)


def _worker(_given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints import worker  # noqa: PLC0415

    return worker.work(settings)


def _migrate(given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings, "database_url")
    from entrypoints import composition  # noqa: PLC0415

    if given.check:
        pending = asyncio.run(composition.pending(settings))
        print("\n".join(f"pending: {name}" for name in pending) or "The schema is up to date.")
        return 1 if pending else 0
    done = asyncio.run(composition.migrate(settings))
    print("\n".join(f"migrated: {name}" for name in done) or "The schema is up to date.")
    return 0


def _token(given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints import access  # noqa: PLC0415

    print(
        access.development_token(
            settings, email=given.email, name=given.name, expires_in_s=given.expires
        )
    )
    return 0


def _key_create(given: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints import access  # noqa: PLC0415

    created = access.create_key(
        settings,
        organization=given.organization,
        name=given.name,
        scopes=given.scopes,
        lasts_s=given.expires,
    )
    print(asyncio.run(created))
    print("Keep it: it can't be shown again.", file=sys.stderr)
    return 0


def _doctor(_given: argparse.Namespace, settings: Settings) -> int:
    from entrypoints import doctor  # noqa: PLC0415

    return doctor.examine(settings)


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
    _add_token(commands)
    _add_keys(commands)
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
    add_command(
        commands,
        "worker",
        _worker,
        summary="what is done later, on your own PostgreSQL and Redis",
        description="Checks the servers and waits for work until SIGTERM. As yet there is none.",
        example="PANDAPROBE_DATABASE_URL=postgresql://… PANDAPROBE_REDIS_URL=redis://… \\\n"
        "    pandaprobe-server worker",
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
    add_command(
        commands,
        "doctor",
        _doctor,
        summary="check settings, servers, schema, folder and disk",
        description="Prints a line for each check, and exits with 1 if one needs you. Without "
        "the addresses of servers it looks at those of a running `dev`.",
        example="pandaprobe-server doctor",
        joins_dev=True,
    )


def _add_token(commands: Subcommands) -> None:
    """`token`."""
    token = add_command(
        commands,
        "token",
        _token,
        summary="a token of the development issuer, to sign in without an identity provider",
        description="Prints a JSON Web Token signed with the key in the data folder. Only a "
        "server that runs on the same folder with PANDAPROBE_AUTH_DEV_ISSUER=on believes it, as "
        "`dev` does.",
        example='curl -H "Authorization: Bearer $(pandaprobe-server token)" …',
        defaults=DEV,
    )
    token.add_argument("--email", default="dev@localhost", help="whose; default: %(default)s")
    token.add_argument("--name", default="Developer", help="shown name; default: %(default)s")
    token.add_argument(
        "--expires",
        type=duration,
        default="12h",
        metavar="TIME",
        help="how long it lasts: a number and s, m, h or d, at most 366d; default: %(default)s",
    )


def _add_keys(commands: Subcommands) -> None:
    """`key create`."""
    about = "make API keys for programs"
    key = commands.add_parser("key", help=about, description=f"{about.capitalize()}.")
    actions = key.add_subparsers(title="commands", metavar="<command>", required=True)
    create = add_command(
        actions,
        "create",
        _key_create,
        summary="make an API key and print its secret, once",
        description="Makes an API key, which reaches every project of its organization. Without "
        "the addresses of servers it works on those of a running `dev`.",
        example="pandaprobe-server key create --name ci --scopes ingest,read --expires 90d",
        joins_dev=True,
    )
    create.add_argument(
        "--organization", metavar="ID", help="whose key; with `dev`: by default the first one"
    )
    create.add_argument("--name", default="command line", help="default: %(default)s")
    create.add_argument(
        "--scopes",
        type=lambda text: tuple(text.split(",")),
        metavar="LIST",
        help="of ingest, read and evaluate, separated by commas; default: all",
    )
    create.add_argument(
        "--expires",
        type=lambda text: None if text == "never" else duration(text),
        default="never",
        choices=(None, DAY_S * 90),
        metavar="{never,90d}",
        help="default: never",
    )


if __name__ == "__main__":
    sys.exit(main())
