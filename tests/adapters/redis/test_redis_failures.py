"""A Redis that can't be used is reported with the cause, and without its password."""

import asyncio
import logging
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from adapters.dramatiq.broker import QueueBroker
from adapters.embedded.process import free_port
from adapters.redis.client import RedisHealthCheck, opened
from entrypoints.cli.doctor import check_redis
from entrypoints.settings import Settings
from tests.support.certificates import write_certificate
from tests.support.waiting import in_time

SECRET = "hidden-word"
QUEUE = "judge"


async def reported(url: str, caplog: pytest.LogCaptureFixture) -> set[str]:
    """What readiness, `doctor` and a consumer say of it, in short: all say the same cause."""
    async with in_time(), opened(url) as client:
        detail = (await RedisHealthCheck(client).check()).detail
        [finding] = await check_redis(Settings(redis_url=url))
    broker = QueueBroker(url, QUEUE)
    with caplog.at_level(logging.WARNING, "adapters.dramatiq"):
        assert await asyncio.to_thread(next, broker.consume(QUEUE)) is None
    broker.close()
    [logged] = [
        one.getMessage() for one in caplog.records if one.name == "adapters.dramatiq.broker"
    ]
    assert SECRET not in f"{detail}{finding}{logged}"
    assert finding.advice == "see PANDAPROBE_REDIS_URL"
    return {
        str(detail),
        str(finding.detail).partition(": ")[2],
        logged.removeprefix(f"{QUEUE}: Redis can't be used (").removesuffix("); reconnecting"),
    }


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def changed(url: str, user: str = "", password: str = SECRET, database: int = 0) -> str:
    given = urlsplit(url)
    place = f"{user}:{password}@{given.hostname}:{given.port}"
    return given._replace(netloc=place, path=f"/{database}").geturl()


@pytest.mark.service
@pytest.mark.parametrize(
    "parts", [{}, {"user": "ada"}, {"password": ""}], ids=["password", "user", "no password"]
)
async def test_refused_password_is_said(redis_url, caplog, parts):
    said = await reported(changed(redis_url, **parts), caplog)
    assert said == {"it refuses the user or the password"}


@pytest.mark.service
async def test_missing_database_is_said(redis_url, caplog):
    password = urlsplit(redis_url).password or ""
    said = await reported(changed(redis_url, password=password, database=99), caplog)
    assert said == {"it answers: DB index is out of range"}


async def test_closed_port_is_said(caplog):
    said = await reported(f"redis://:{SECRET}@127.0.0.1:{free_port()}/0", caplog)
    assert said == {"nothing accepts connections there: is it running, and is the port correct?"}


async def test_unknown_host_is_said(caplog):
    said = await reported(f"redis://:{SECRET}@does-not-exist.invalid/0", caplog)
    assert said == {"the name of the host can't be resolved"}


async def test_missing_file_of_authorities_is_said(caplog):
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"rediss://:{SECRET}@127.0.0.1:{port}/0?ssl_ca_certs=/missing.pem"
        said = await reported(url, caplog)
    assert said == {"a file of its URL doesn't exist"}


async def test_another_server_at_the_port_is_said(caplog):
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await reported(f"redis://:{SECRET}@127.0.0.1:{port}/0", caplog)
    assert said == {"it closed the connection: is this the port of Redis?"}


async def test_untrusted_certificate_is_said(tmp_path: Path, caplog):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*write_certificate(tmp_path))
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        said = await reported(f"rediss://:{SECRET}@127.0.0.1:{port}/0", caplog)
    assert [one for one in said if "its TLS certificate isn't trusted" not in one] == []
    assert [one for one in said if "self-signed certificate" not in one] == []
