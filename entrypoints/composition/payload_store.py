"""Where blocks of payloads lie, by the settings: in the database, or in a bucket."""

from importlib.util import find_spec
from typing import Final

from application.tracing.ports import PayloadStore
from entrypoints.settings import Settings, SettingsError, variable

INSTALL_S3: Final = (
    f"{variable('payload_bucket')} needs an optional library that is not installed: "
    "pip install 'pandaprobe-server[s3]'"
)


def payload_store(settings: Settings) -> PayloadStore | None:
    """None if blocks stay in the database. Raises SettingsError."""
    if settings.payload_bucket is None:
        return None
    if not find_spec("obstore"):
        raise SettingsError(INSTALL_S3)
    if (settings.s3_access_key_id is None) is not (settings.s3_secret_access_key is None):
        both = f"{variable('s3_access_key_id')} and {variable('s3_secret_access_key')}"
        raise SettingsError(f"{both} must be set together")
    # Imports 10 MB of Rust, which only processes with a bucket need.
    from adapters.s3.payload_store import BucketSettings, S3PayloadStore  # noqa: PLC0415 - see above

    bucket = BucketSettings(
        bucket=settings.payload_bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    return S3PayloadStore(bucket.open())
