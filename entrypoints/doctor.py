"""`doctor`: what is wrong with this installation, said by name."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from application.ports import PartState
from domain.errors import Failure
from entrypoints.settings import Settings, variable

FREE_MIN_BYTES: Final = 1 << 30  # less than that is gone in an afternoon of tracing


def examine(settings: Settings) -> int:
    """Prints a line for each check; 1 where one failed, else 0."""
    return asyncio.run(_examine(settings))


async def _examine(settings: Settings) -> int:
    failed = 0
    async for name, state in _checks(settings):
        failed += not state.ok
        detail = f": {state.detail}" if state.detail else ""
        sys.stdout.write(f"{'ok    ' if state.ok else 'WRONG '} {name}{detail}\n")
    if failed:
        sys.stdout.write(f"{failed} of these need you.\n")
    return 1 if failed else 0


async def _checks(settings: Settings) -> AsyncIterator[tuple[str, PartState]]:
    yield "settings", PartState(ok=True)  # they were read, or this wouldn't run
    folder = Path(settings.data_dir)
    yield f"data folder {folder}", _folder(folder)
    yield f"disk of {folder}", _disk(folder)
    yield "sign-in", await _sign_in(settings)
    addresses = {
        "postgres": ("database_url", settings.database_url),
        "redis": ("redis_url", settings.redis_url),
    }
    missing = [name for name, (_, url) in addresses.items() if not url]
    for name in missing:
        yield (
            name,
            PartState(
                ok=False,
                detail=f"{variable(addresses[name][0])} isn't set, and no `pandaprobe-server dev` "
                f"runs on {folder}",
            ),
        )
    if missing:
        return
    from entrypoints import composition  # noqa: PLC0415 - slow to import, and often not reached

    try:
        async with composition.ports(settings) as ports:
            for name, part in ports.parts.items():
                yield name, await part.check()
    except Failure as failure:
        yield "postgres and redis", PartState(ok=False, detail=failure.message)


async def _sign_in(settings: Settings) -> PartState:
    from entrypoints.sign_in import sign_in_state  # noqa: PLC0415

    return await sign_in_state(settings)


def _folder(folder: Path) -> PartState:
    if not folder.exists():
        return PartState(ok=True, detail="not made yet; only `dev` needs it")
    if not folder.is_dir():
        return PartState(ok=False, detail="is no folder")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        owner = folder.stat().st_uid
        return PartState(ok=False, detail=f"belongs to user {owner}, and you can't write to it")
    return PartState(ok=True)


def _disk(folder: Path) -> PartState:
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    return PartState(ok=free >= FREE_MIN_BYTES, detail=f"{free / (1 << 30):.1f} GiB free")
