"""Payloads in S3-compatible storage. It needs the extra `s3`."""
