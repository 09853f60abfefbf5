"""`serve`: its options, and the limits that its settings say."""

import pytest

from adapters.memory.token_buckets import MemoryTokenBuckets
from domain.limits import Limit
from entrypoints.cli.main import main
from entrypoints.http.middleware.rate_limits import RouteClass
from entrypoints.server.asgi import DRAIN_TIMEOUT_S, rate_limits, volume_limits
from entrypoints.server.protocol_limits import BoundedConnection
from entrypoints.server.serve import server_config, with_options
from entrypoints.settings import Settings, read_settings


def test_option_overrides_the_setting():
    settings = Settings(api_processes=3)
    assert with_options(settings, None) == settings
    assert with_options(settings, 1).api_processes == 1


def test_each_limit_is_that_of_its_setting():
    counts = {one: number for number, one in enumerate(RouteClass, 1)}
    environ = {f"RATE_LIMIT_{one.upper()}": f"{count}/hour" for one, count in counts.items()}
    environ |= {"OTLP_BYTES_PER_SECOND": "2048", "OTLP_SPANS_PER_SECOND": "7"}
    settings = read_settings({f"PANDAPROBE_{name}": text for name, text in environ.items()})
    assert rate_limits(settings) == {one: Limit(count, "hour") for one, count in counts.items()}
    buckets = MemoryTokenBuckets(lambda: 0)
    volumes = volume_limits(settings, buckets, None)
    assert (volumes.bytes_per_second, volumes.spans_per_second) == (2_048, 7)
    disabled = read_settings({"PANDAPROBE_RATE_LIMIT_ENABLED": "off"})
    assert (rate_limits(disabled), volume_limits(disabled, buckets, None)) == ({}, None)


@pytest.mark.parametrize("count", ["0", "65", "two"])
def test_invalid_number_of_processes_is_refused(count, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--processes", count], {})
    assert ended.value.code == 2
    assert "is not a whole number from 1" in capsys.readouterr().err


async def unused(*_: object) -> None:
    """An application that answers nothing."""


def test_http_server_has_the_options_of_the_settings():
    config = server_config(unused, Settings(keep_alive_seconds=7))
    assert (config.timeout_keep_alive, config.http) == (7, BoundedConnection)
    assert config.timeout_graceful_shutdown == DRAIN_TIMEOUT_S
    assert (config.proxy_headers, config.server_header, config.access_log) == (False,) * 3
