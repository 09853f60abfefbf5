"""Which settings put payloads into a bucket, and what `doctor` says of it."""

import pytest

from adapters.embedded.process import free_port
from adapters.s3.payload_store import S3PayloadStore
from entrypoints.cli.doctor import Level, check_bucket
from entrypoints.composition.payload_store import payload_store
from entrypoints.setting_checks import storage_problems
from entrypoints.settings import Settings, SettingsError, read_settings
from tests.support.fixtures.servers.payload_store import new_bucket, s3_server

KEYS = {"s3_access_key_id": "a", "s3_secret_access_key": "b"}


def test_payloads_stay_in_the_database_without_a_bucket():
    assert payload_store(Settings(**KEYS)) is None


def test_bucket_is_opened_without_asking_the_storage():
    settings = Settings(payload_bucket="blocks", s3_endpoint="http://127.0.0.1:1", **KEYS)
    assert isinstance(payload_store(settings), S3PayloadStore)


@pytest.mark.parametrize(
    "given", ["PANDAPROBE_S3_ACCESS_KEY_ID", "PANDAPROBE_S3_SECRET_ACCESS_KEY"]
)
def test_half_of_the_credentials_is_refused(given: str):
    with pytest.raises(SettingsError, match="must be set together"):
        read_settings({given: "a"}, storage_problems)


async def test_doctor_tries_the_bucket():
    assert await check_bucket(Settings()) == []
    with s3_server() as url:
        name = new_bucket(url).bucket.config["bucket"]
        for bucket, level in ((name, Level.OK), ("missing", Level.FAIL)):
            settings = Settings(payload_bucket=bucket, s3_endpoint=url, **KEYS)
            [finding] = await check_bucket(settings)
            assert (finding.level, bucket in finding.detail) == (level, True)
    away = f"http://127.0.0.1:{free_port()}"
    settings = Settings(payload_bucket=name, s3_endpoint=away, **KEYS)
    [finding] = await check_bucket(settings)
    assert finding.level is Level.FAIL
    assert "error sending request" in finding.detail
