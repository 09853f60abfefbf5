"""Webhooks: permitted addresses, retry delays, and signatures."""

import base64
import hmac
import re
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.evaluation.alerts.webhook import (
    DELIVERY_ATTEMPTS_MAX,
    DELIVERY_WAIT_MAX,
    DELIVERY_WAIT_MIN,
    URL_MAX,
    Webhook,
    format_secret,
    is_public,
    retry_delay,
    signature,
    validate_url,
)
from domain.ids import ProjectId
from tests.support.builders.values import NOON

INSIDE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "100.100.100.200", "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.1",
    "198.18.0.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "100::1",
    "2001:db8::1", "2001::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:0a00:0001::",
    "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "3fff::1", "5f00::1",
    "", "localhost", "1.2.3", "0x7f.1", "2606:4700::1111%eth0",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_private_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_routed_addresses_are_public(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_embedded_ipv4_is_checked_as_ipv4(address):
    packed = int(address)
    mapped, nat64 = f"::ffff:{address}", f"64:ff9b::{packed >> 16:x}:{packed & 0xFFFF:x}"
    sixtofour = f"2002:{packed >> 16:x}:{packed & 0xFFFF:x}::1"
    assert is_public(mapped) == is_public(nat64) == is_public(sixtofour) == is_public(str(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com:8443/hooks/a?b=c",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]:443/",
        "HTTPS://Example.com/%20",
    ],
)
def test_accepted_urls(url):
    assert validate_url(url, allow_private=False) == url
    assert validate_url(url, allow_private=True) == url


NEVER = [
    "", "example.com", "//example.com", "https://", "https:///x", "ftp://example.com",
    "file:///etc/passwd", "gopher://example.com", "https://u@example.com", "https://u:p@example.com",
    "https://@example.com", "https://example.com/#", "https://example.com/#x",
    "https://example.com:0/", "https://example.com:x/", "https://example.com:99999/",
    "https://exämple.com", "https://example.com/a b", "https://example.com/\n", " https://example.com",
    "https://example.com\\@10.0.0.1/", "https://[::1", "https://example.com/" + "x" * URL_MAX,
]  # fmt: skip
PRIVATE = [
    "http://example.com/", "https://localhost/", "https://a.localhost", "https://127.0.0.1/",
    "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest",
]  # fmt: skip


@pytest.mark.parametrize("url", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_rejected_urls(url, allow_private):
    with pytest.raises(Invalid) as refused:
        validate_url(url, allow_private=allow_private)
    assert [error.field for error in refused.value.errors] == ["url"]


@pytest.mark.parametrize("url", PRIVATE)
def test_private_urls_are_accepted_if_allowed(url):
    assert validate_url(url, allow_private=True) == url
    with pytest.raises(Invalid):
        validate_url(url, allow_private=False)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com/…cret"),
        ("HTTPS://Example.com:8443/a?token=12345", "https://Example.com:8443/…2345"),
        ("https://example.com?token=12345", "https://example.com/…2345"),
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com/"),
    ],
)
def test_masked_url_has_its_origin_and_end(url, masked):
    hook = Webhook(id=UUID(int=1), project_id=ProjectId(UUID(int=2)), url=url, created_at=NOON)
    assert hook.masked() == replace(hook, url=masked)


def test_secret_format_is_that_of_standard_webhooks():
    assert format_secret(bytes(24)) == "whsec_" + "A" * 32


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_retry_delays_grow_within_bounds_and_end(chance):
    waits = [retry_delay(n, chance) for n in range(1, DELIVERY_ATTEMPTS_MAX + 1)]
    assert waits.pop() is None
    assert all(one <= other for one, other in pairwise(waits))
    assert DELIVERY_WAIT_MIN * 0.75 <= waits[0] <= DELIVERY_WAIT_MIN
    assert DELIVERY_WAIT_MAX * 0.75 <= waits[-1] <= DELIVERY_WAIT_MAX
    assert sum(waits, timedelta()) > timedelta(hours=12)


def test_documented_verification_accepts_the_signature():
    page = (Path(__file__).parents[4] / "docs/evaluation/monitors.md").read_text()
    [program] = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    known: dict[str, Any] = {"base64": base64, "hmac": hmac, "time": time}
    exec(program, known)  # the code that readers copy
    verified = known["verified"]
    secret, body, now = bytes(range(24)), b'{"type":"alert.changed"}', int(time.time())
    head = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, "msg_1", now, body),
    }
    assert verified(format_secret(secret), head, body)
    assert not verified(format_secret(secret), head, body + b" ")
    assert not verified(format_secret(bytes(24)), head, body)
    late = head | {"webhook-timestamp": str(now - 301)}
    late["webhook-signature"] = signature(secret, "msg_1", now - 301, body)
    assert not verified(format_secret(secret), late, body)
