"""The commands `token` and `key create`."""

import argparse
import asyncio
import sys

from entrypoints.cli.arguments import (
    DAY_S,
    DEV_DEFAULTS,
    Subcommands,
    add_command,
    add_organization,
    duration,
)
from entrypoints.settings import Settings
from entrypoints.startup import check_servers


def add_access(commands: Subcommands) -> None:
    """Adds `token` and `key create`."""
    _add_token(commands)
    _add_keys(commands)


def _token(arguments: argparse.Namespace, settings: Settings) -> int:
    from entrypoints import provisioning  # noqa: PLC0415

    token = provisioning.development_token(
        settings, email=arguments.email, name=arguments.name, expires_in_s=arguments.expires
    )
    sys.stdout.write(f"{token}\n")
    return 0


def _key_create(arguments: argparse.Namespace, settings: Settings) -> int:
    check_servers(settings)
    from entrypoints import provisioning  # noqa: PLC0415

    created = provisioning.create_key(
        settings,
        organization=arguments.organization,
        name=arguments.name,
        scopes=arguments.scopes,
        lasts_s=arguments.expires,
    )
    sys.stdout.write(f"{asyncio.run(created)}\n")
    sys.stderr.write("Store it now: it can't be shown again.\n")
    return 0


def _add_token(commands: Subcommands) -> None:
    token = add_command(
        commands,
        "token",
        _token,
        summary="print a token of the development issuer, to sign in without an identity provider",
        description="Prints a JSON Web Token signed with the key in the data folder. Only a "
        "server that runs on the same folder with PANDAPROBE_AUTH_DEV_ISSUER=on accepts it, as "
        "`dev` does.",
        example='curl -H "Authorization: Bearer $(pandaprobe-server token)" …',
        defaults=DEV_DEFAULTS,
    )
    token.add_argument(
        "--email", default="dev@localhost", help="email of the user; default: %(default)s"
    )
    token.add_argument("--name", default="Developer", help="display name; default: %(default)s")
    token.add_argument(
        "--expires",
        type=duration,
        default="12h",
        metavar="TIME",
        help="lifetime: a number and s, m, h or d, at most 366d; default: %(default)s",
    )


def _add_keys(commands: Subcommands) -> None:
    about = "create API keys for programs"
    key = commands.add_parser("key", help=about, description=f"{about.capitalize()}.")
    actions = key.add_subparsers(title="commands", metavar="<command>", required=True)
    create = add_command(
        actions,
        "create",
        _key_create,
        summary="create an API key and print its secret, once",
        description="Creates an API key for all projects of an organization. Without the addresses "
        "of servers it uses those of a running `dev`.",
        example="pandaprobe-server key create --name ci --scopes ingest,read --expires 90d",
        uses_dev_servers=True,
    )
    add_organization(create, "the organization of the key")
    create.add_argument("--name", default="command line", help="of the key; default: %(default)s")
    create.add_argument(
        "--scopes",
        type=lambda text: tuple(text.split(",")),
        metavar="LIST",
        help="a list of ingest, read and evaluate, separated by commas; default: all",
    )
    create.add_argument(
        "--expires",
        type=lambda text: None if text == "never" else duration(text),
        default="never",
        choices=(None, DAY_S * 90),
        metavar="{never,90d}",
        help="default: never",
    )
