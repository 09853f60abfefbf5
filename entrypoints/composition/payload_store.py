"""The place of blocks of payloads, by the settings: in the database, or in a bucket."""

from application.tracing.ports import PayloadStore
from entrypoints.settings import Settings


def payload_store(settings: Settings) -> PayloadStore | None:
    """None if blocks stay in the database."""
    if settings.payload_bucket is None:
        return None
    # Imports 16 MB of an extra, which only processes with a bucket need.
    from adapters.s3.payload_store import BucketSettings, S3PayloadStore  # noqa: PLC0415 - see above

    bucket = BucketSettings(
        bucket=settings.payload_bucket,
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    return S3PayloadStore(bucket.open())
