"""Which settings put payloads into a bucket."""

import pytest

from adapters.s3.payload_store import S3PayloadStore
from entrypoints.composition.payload_store import payload_store
from entrypoints.settings import Settings, SettingsError


def test_payloads_stay_in_the_database_without_a_bucket():
    assert payload_store(Settings(s3_access_key_id="a", s3_secret_access_key="b")) is None


def test_bucket_is_opened_without_asking_the_storage():
    keys = {"s3_access_key_id": "a", "s3_secret_access_key": "b"}
    settings = Settings(payload_bucket="blocks", s3_endpoint="http://127.0.0.1:1", **keys)
    assert isinstance(payload_store(settings), S3PayloadStore)


@pytest.mark.parametrize("given", ["s3_access_key_id", "s3_secret_access_key"])
def test_half_of_the_credentials_is_refused(given: str):
    with pytest.raises(SettingsError, match="PANDAPROBE_S3_ACCESS_KEY_ID and"):
        payload_store(Settings(payload_bucket="blocks", **{given: "a"}))
