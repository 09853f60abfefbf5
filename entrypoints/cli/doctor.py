"""`doctor`: what is wrong with this installation, said by name."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from entrypoints.cli.doctor_findings import Finding, Level, fail, ok
from entrypoints.settings import Settings, variable


def examine(
    settings: Settings, environ: Mapping[str, str] | None = None, *, as_json: bool = False
) -> int:
    """Prints a line for each finding, or one object; 1 where anything failed, else 0."""
    return asyncio.run(_examine(settings, environ or {}, as_json=as_json))


def refused(problems: str, *, as_json: bool = False) -> int:
    """As `examine`, where settings can't be used: a line for each."""
    return _told([fail("settings", one) for one in problems.splitlines()], as_json=as_json)


async def _examine(settings: Settings, environ: Mapping[str, str], *, as_json: bool) -> int:
    found = []
    async for one in _findings(settings, environ):
        found.append(one)
        if not as_json:
            sys.stdout.write(f"{one}\n")
            sys.stdout.flush()
    return _told(found, as_json=as_json, is_told=not as_json)


def _told(found: Sequence[Finding], *, as_json: bool, is_told: bool = False) -> int:
    count = {level: sum(one.level is level for one in found) for level in Level}
    is_fine = not count[Level.FAIL]
    if as_json:
        said = {"ok": is_fine, "findings": [asdict(one) for one in found]}
        sys.stdout.write(f"{json.dumps(said, indent=2)}\n")
    else:
        if not is_told:
            sys.stdout.writelines(f"{one}\n" for one in found)
        if not is_fine or count[Level.WARN]:
            sys.stdout.write(f"{count[Level.FAIL]} failed, {count[Level.WARN]} to look at.\n")
    return 0 if is_fine else 1


async def _findings(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Finding]:
    # Slow to import, as what follows.
    from entrypoints.cli.doctor_servers import database_found, disk_found, redis_found  # noqa: PLC0415
    from entrypoints.cli.doctor_settings import settings_found  # noqa: PLC0415

    for one in settings_found(settings, environ):
        yield one
    folder = Path(settings.data_dir)
    yield _folder("data folder", folder)
    yield disk_found(f"disk of {folder}", folder)
    if settings.metrics_dir is not None:
        yield _folder("metrics folder", Path(settings.metrics_dir))
    yield await _sign_in(settings)
    if settings.database_url:
        async for one in database_found(settings):
            yield one
    else:
        yield _unset("postgres", "database_url", folder)
    if settings.redis_url:
        for one in await redis_found(settings):
            yield one
    else:
        yield _unset("redis", "redis_url", folder)


def _unset(name: str, field: str, folder: Path) -> Finding:
    detail = f"{variable(field)} isn't set, and no `pandaprobe-server dev` runs on {folder}"
    return fail(name, detail, "set it")


async def _sign_in(settings: Settings) -> Finding:
    from entrypoints.composition.sign_in import sign_in_state  # noqa: PLC0415

    state = await sign_in_state(settings)
    if state.ok:
        return ok("sign-in", state.detail)
    return fail("sign-in", state.detail or "nobody can sign in", "see docs/settings.md, Sign-in")


def _folder(name: str, folder: Path) -> Finding:
    name = f"{name} {folder}"
    if not folder.exists():
        return ok(name, "not made yet; whoever needs it makes it")
    if not folder.is_dir():
        return fail(name, "is no folder", "name another one")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        owner = folder.stat().st_uid
        return fail(name, f"belongs to user {owner}, and you can't write to it", "change its owner")
    return ok(name)
