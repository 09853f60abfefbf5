"""`backup` and `restore` of what `dev` keeps: its PostgreSQL, whole and of one moment.

A backup is a folder: `database.dump`, as `pg_dump` writes it, and `manifest.json`, which says what
is in it. A restore fills a new database beside the place where it belongs, compares it with the
manifest table by table, and only then puts it there: what isn't whole is never used.
"""

import asyncio
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from adapters.embedded import dumps, servers
from adapters.embedded.postgres import MAJOR, start_postgres
from adapters.embedded.process import StartError
from entrypoints.processes import dev_supervisor
from entrypoints.settings import Settings, variable
from entrypoints.startup import CommandError

FORMAT: Final = 1
DUMP: Final = "database.dump"
MANIFEST: Final = "manifest.json"
DATABASE: Final = f"pg{MAJOR}"


class Table(msgspec.Struct, frozen=True):
    rows: int
    hash: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`migrations` are those that the database had; `hash` of a table is a sum over its rows."""

    format: int
    version: str
    postgres: str
    made_at: str
    dump_bytes: int
    dump_sha256: str
    migrations: tuple[str, ...]
    tables: dict[str, Table]


def backup(settings: Settings, folder: Path) -> int:
    """Writes a backup to a new folder. Raises CommandError, Unavailable."""
    _refuse_own_servers(settings)
    if folder.exists():
        raise CommandError(f"{folder} exists already: name a folder that doesn't")
    with _told(), _database(settings) as url:
        draft = _beside(folder)
        try:
            manifest = asyncio.run(_written(url, draft))
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    rows = sum(one.rows for one in manifest.tables.values())
    _say(
        f"{folder}: {rows:,} rows of {len(manifest.tables)} tables, "
        f"{manifest.dump_bytes / (1 << 20):,.1f} MiB"
    )
    return 0


def restore(settings: Settings, folder: Path, *, only_verify: bool) -> int:
    """Fills the data folder from a backup, or only finds out whether that would work.

    Raises CommandError, Unavailable.
    """
    _refuse_own_servers(settings)
    manifest = _read(folder)
    if only_verify:
        with tempfile.TemporaryDirectory(prefix="pandaprobe-verify-") as place, _told():
            Path(place).chmod(0o755)  # postgres, as another user, has to pass through
            _filled(Path(place), folder, manifest)
        _say(f"{folder} is whole: restored elsewhere, and every table is as it was")
        return 0
    data = Path(settings.data_dir).absolute()
    with _told(), servers.locked(data):
        target = data / DATABASE
        if target.exists():
            raise CommandError(
                f"{target} holds a database already: move it away, or set "
                f"{variable('data_dir')} to another folder"
            )
        draft = data / "restoring"
        shutil.rmtree(draft, ignore_errors=True)  # of a restore that was killed
        draft.mkdir(mode=0o755)
        try:
            _filled(draft, folder, manifest)
            (draft / DATABASE).rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    _say(f"Restored into {data}; every table is as it was. `dev` goes on with it.")
    return 0


def _filled(place: Path, folder: Path, manifest: Manifest) -> None:
    """A new database in `place`, filled, compared and migrated, and stopped again."""
    from entrypoints.composition import root  # noqa: PLC0415

    with ExitStack() as stack:
        postgres, url = start_postgres(place)
        stack.callback(postgres.stop)
        dumps.load(url, folder / DUMP)
        if differing := asyncio.run(_differing(url, manifest)):
            raise CommandError(f"{folder} isn't whole: {', '.join(differing)} came out otherwise")
        there = msgspec.structs.replace(Settings(), database_url=url)
        known = asyncio.run(root.migrate(there))
        if known:
            _say(f"Migrated: {', '.join(known)}")
        asyncio.run(_tidied(url))


async def _written(url: str, draft: Path) -> Manifest:
    from adapters.postgres.database.backup_manifest import held  # noqa: PLC0415 - slow to import
    from entrypoints.composition.root import product_version  # noqa: PLC0415 - as above

    async with held(url) as state:
        file = draft / DUMP
        # In a thread: the state is held by a connection of this loop.
        await asyncio.to_thread(dumps.dump, url, state.snapshot, file)
    manifest = Manifest(
        format=FORMAT,
        version=product_version(),
        postgres=state.server,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        dump_bytes=file.stat().st_size,
        dump_sha256=_sha256(file),
        migrations=state.migrations,
        tables={name: Table(one.rows, one.hash) for name, one in state.tables.items()},
    )
    text = msgspec.json.format(msgspec.json.encode(manifest))
    (draft / MANIFEST).write_bytes(text + b"\n")
    return manifest


def _read(folder: Path) -> Manifest:
    """The manifest of a backup whose file is as it was written."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        is_same = _sha256(folder / DUMP) == manifest.dump_sha256
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"{folder} is no backup: {error}") from error
    if manifest.format != FORMAT:
        raise CommandError(f"{folder} is a backup of a newer version: install that")
    from adapters.postgres.schema.pending import known  # noqa: PLC0415 - slow to import

    if not set(manifest.migrations) <= set(known()):
        raise CommandError(f"{folder} is a backup of a newer version: install {manifest.version}")
    if not is_same:
        raise CommandError(f"{folder / DUMP} was changed since it was written")
    return manifest


async def _differing(url: str, manifest: Manifest) -> list[str]:
    """The tables that are otherwise than the manifest says."""
    from adapters.postgres.database.backup_manifest import held  # noqa: PLC0415 - slow to import

    async with held(url) as state:
        found = {name: Table(one.rows, one.hash) for name, one in state.tables.items()}
    names: Mapping[str, object] = manifest.tables | found
    return sorted(name for name in names if manifest.tables.get(name) != found.get(name))


async def _tidied(url: str) -> None:
    from adapters.postgres.database.backup_manifest import tidy  # noqa: PLC0415 - slow to import

    await tidy(url)


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The URL of the database of the data folder: of a `dev` that runs, or started for this."""
    data = Path(settings.data_dir).absolute()
    if url := dev_supervisor.running_servers(settings.data_dir).get(variable("database_url")):
        yield url
        return
    if not (data / DATABASE).exists():
        raise CommandError(f"{data} holds no database: there is nothing to back up")
    with servers.locked(data):
        postgres, url = start_postgres(data)
        try:
            yield url
        finally:
            postgres.stop()


def _beside(folder: Path) -> Path:
    """A new folder, for its owner only, where `folder` is to be."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise CommandError(f"{folder.parent} can't be written to: {error.strerror}") from error


def _refuse_own_servers(settings: Settings) -> None:
    if settings.database_url:
        raise CommandError(
            f"{variable('database_url')} is set: this is for the database that `dev` brings; "
            "back your own server up with its pg_dump or your provider's snapshots"
        )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StartError as error:
        raise CommandError(str(error)) from error


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
