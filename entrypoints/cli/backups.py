"""`backup` and `restore` of the PostgreSQL that `dev` starts, with pg_dump and pg_restore.

A backup is a folder with `database.dump` and `manifest.json`. The manifest contains the number of
rows of each table and their hash, read in the snapshot that pg_dump reads. A restore fills a new
database, compares it with the manifest, and only then moves it to the data folder of `dev`: on its
own, pg_restore can't detect missing rows in a dump, and a failed one leaves a partial database.

Ctrl-C, SIGTERM and the end of the terminal (SIGHUP) stop both, and remove what they have written.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from adapters.embedded import servers
from adapters.embedded.postgres import MAJOR, dump, load, start_postgres
from adapters.embedded.process import StartError
from adapters.postgres.database.backup_manifest import TableState, open_snapshot
from adapters.postgres.schema.pending import known_migrations
from domain.errors import Conflict
from domain.wording import counted
from entrypoints.composition import database
from entrypoints.processes import dev_supervisor
from entrypoints.progress import Progress
from entrypoints.settings import Settings, variable
from entrypoints.startup import CommandError, print_line, product_version

FORMAT: Final = 1
DUMP: Final = "database.dump"
MANIFEST: Final = "manifest.json"
DATABASE: Final = f"pg{MAJOR}"
DRAFT_SUFFIX: Final = ".pandaprobe-draft"  # of the folder of a backup that isn't complete


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`migrations` are the names of the migrations that had run on the database."""

    format: int
    version: str
    postgres: str
    made_at: str
    dump_bytes: int
    dump_sha256: str
    migrations: tuple[str, ...]
    tables: dict[str, TableState]


def backup(settings: Settings, folder: Path) -> int:
    """Writes a backup to a new folder. Raises CommandError, Unavailable."""
    _refuse_own_servers(settings)
    if folder.exists():
        raise CommandError(f"{folder} exists already: choose a new folder")
    with interruptible(), _command_errors(), _database(settings) as url:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned_drafts(folder.parent)
        # Only its owner can read it. It gets its final name once it is complete.
        draft = Path(
            tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=DRAFT_SUFFIX, dir=folder.parent)
        )
        try:
            with lock_draft(draft):
                manifest = asyncio.run(_write(url, draft))
                draft.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    rows = sum(table.rows for table in manifest.tables.values())
    size = manifest.dump_bytes / (1 << 20)
    print_line(
        f"{folder}: {counted(rows, 'row')} of {len(manifest.tables)} tables, {size:,.1f} MiB"
    )
    return 0


def remove_abandoned_drafts(parent: Path) -> None:
    """Deletes and names what backups that were killed have left in a folder."""
    for draft in parent.glob(f".*{DRAFT_SUFFIX}"):
        with suppress(OSError):  # another backup writes it, or it is of another user
            with lock_draft(draft):
                shutil.rmtree(draft)
            print_line(f"Removed {draft}, which a backup that was killed had left")


@contextmanager
def lock_draft(draft: Path) -> Iterator[None]:
    """Locks a folder. The kernel releases the lock however the process ends. Raises OSError."""
    descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def restore(settings: Settings, folder: Path, *, only_verify: bool) -> int:
    """Restores a backup into the data folder; with `only_verify` into a temporary one.

    Raises CommandError, Unavailable.
    """
    _refuse_own_servers(settings)
    manifest = _read(folder)
    if only_verify:
        with (
            interruptible(),
            tempfile.TemporaryDirectory(prefix="pandaprobe-verify-") as temporary,
            _command_errors(),
        ):
            Path(temporary).chmod(0o755)  # postgres may run as another user, who has to enter it
            _fill(Path(temporary), folder, manifest)
        print_line(f"{folder} is complete: a test restore has the same rows in every table")
        return 0
    data = Path(settings.data_dir).absolute()
    with interruptible(), _command_errors(), servers.lock_folder(data):
        target, draft = data / DATABASE, data / "restoring"
        if target.exists():
            raise CommandError(
                f"{target} exists already: move that database away, or set "
                f"{variable('data_dir')} to another folder"
            )
        shutil.rmtree(draft, ignore_errors=True)  # left by a restore that was killed
        draft.mkdir(mode=0o755)
        try:
            key_ids = _fill(draft, folder, manifest)
            (draft / DATABASE).rename(target)
            # If the name were lost with the power, `dev` would create an empty database.
            _sync(data)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    print_line(
        f"Restored into {data}; every table has the same rows. `dev` uses it at its next start."
    )
    if missing := key_ids - dev_supervisor.secret_key_ids(settings, data):
        print_line(
            f"Secrets of webhooks in it are encrypted with {', '.join(sorted(missing))}: copy the "
            f"file {dev_supervisor.SECRET_KEY} of the old data folder to {data} before the next "
            "start, or no message of these webhooks can be sent."
        )
    return 0


async def _write(url: str, draft: Path) -> Manifest:
    file = draft / DUMP
    async with AsyncExitStack() as stack:
        with _progress("counting") as progress:
            snapshot = await stack.enter_async_context(open_snapshot(url, progress.show))
        with _progress("dumping") as progress:  # compressed, so the total isn't known
            await dump(url, snapshot.id, file, lambda: progress.show(file.stat().st_size))
    manifest = Manifest(
        format=FORMAT,
        version=product_version(),
        postgres=snapshot.server_version,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        dump_bytes=file.stat().st_size,
        dump_sha256=_sha256(file),
        migrations=snapshot.migrations,
        tables=dict(snapshot.tables),
    )
    (draft / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    for path in (file, draft / MANIFEST, draft):
        _sync(path)
    return manifest


def _read(folder: Path) -> Manifest:
    """Reads the manifest. Raises CommandError if the backup is unusable or altered."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
        is_same = _sha256(folder / DUMP) == manifest.dump_sha256
    except (OSError, msgspec.MsgspecError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        reason = f"it has no {MANIFEST} or no {DUMP}" if is_missing else error
        raise CommandError(f"{folder} is not a backup: {reason}") from error
    if manifest.format != FORMAT or not set(manifest.migrations) <= set(known_migrations()):
        raise CommandError(f"{folder} is a backup of a newer version: install {manifest.version}")
    if not is_same:
        raise CommandError(f"{folder / DUMP} was changed since it was written")
    return manifest


def _fill(data: Path, folder: Path, manifest: Manifest) -> set[str]:
    """Creates a database in `data`, fills, compares and migrates it, and stops its server.

    Returns the ids of the keys that its secrets are encrypted with.
    """
    postgres, url = start_postgres(data)
    try:
        with _progress("restoring") as progress:
            asyncio.run(
                load(url, folder / DUMP, lambda: progress.show(_bytes_below(data / DATABASE)))
            )
        if differing := asyncio.run(_differing_tables(url, manifest)):
            raise CommandError(f"{folder} is incomplete: different rows in {', '.join(differing)}")
        try:
            migrated = asyncio.run(database.migrate(Settings(database_url=url)))
        except Conflict as other:
            raise CommandError(f"{folder} can't be restored: {other.message}") from other
        key_ids = set(asyncio.run(database.count_secrets_by_key(Settings(database_url=url))))
    finally:
        postgres.stop()
    if migrated:
        print_line(f"Migrated: {', '.join(migrated)}")
    return key_ids


async def _differing_tables(url: str, manifest: Manifest) -> list[str]:
    with _progress("comparing") as progress:
        async with open_snapshot(url, progress.show) as snapshot:
            differing = manifest.tables.items() ^ snapshot.tables.items()
    return sorted({name for name, _ in differing})


@contextmanager
def _database(settings: Settings) -> Iterator[str]:
    """The URL of the database in the data folder. Starts it unless a `dev` runs it."""
    data = Path(settings.data_dir).absolute()
    if url := dev_supervisor.running_servers(settings.data_dir).get(
        variable("migration_database_url")
    ):
        yield url
        return
    if not (data / DATABASE).exists():
        raise CommandError(f"{data} contains no database: there is nothing to back up")
    with servers.lock_folder(data):
        postgres, url = start_postgres(data)
        try:
            yield url
        finally:
            postgres.stop()


def _refuse_own_servers(settings: Settings) -> None:
    if settings.database_url:
        raise CommandError(
            f"{variable('database_url')} is set: this command is for the database of `dev`; "
            "back up your own server with its pg_dump or your provider's snapshots"
        )


@contextmanager
def _command_errors() -> Iterator[None]:
    try:
        yield
    except (StartError, OSError) as error:
        raise CommandError(str(error)) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it removes what it has written."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell's background command
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _progress(label: str) -> Progress:
    return Progress(None, sys.stderr, label=label, in_bytes=True, is_brief=True)


def _bytes_below(folder: Path) -> int:
    """The size of the files in a folder that changes meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.lstat().st_size
    return size


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
