"""Contract of WebhookSender: what every adapter promises, then HTTP against loopback receivers."""

import asyncio
import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from adapters.memory.evaluation.alerts import MemoryWebhookSender
from adapters.webhook_sender import (
    ADDRESSES_MAX,
    INTERIM_MAX,
    RESOLVER_THREADS,
    HttpWebhookSender,
    SystemResolver,
)
from application.evaluation.ports.alerts import (
    CONCURRENT_DELIVERIES_MAX,
    DeliveryResult,
    WebhookSender,
)
from domain.evaluation.alerts.alert_message import format_body
from domain.evaluation.alerts.webhook import WebhookFormat, format_secret
from tests.support.builders.values import NOON
from tests.support.fakes.webhook_receivers import (
    OK,
    byte_by_byte,
    endless_body,
    endless_head,
    garbage,
    hang_up,
    receiver,
    silence,
    trickle,
    with_status,
)
from tests.support.fixtures.data_plane import project
from tests.support.fixtures.evaluation.alerts import a_delivery, a_webhook
from tests.support.waiting import WAIT_MAX_S, in_time, until

SOON_S = 0.2  # where the time is to run out
BODY = '{"type": "alert.changed", "data": {"metric": "ü"}}'.encode()


class ScriptedResolver:
    """Answers each look-up with the next answer, repeats the last one, and records the calls."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


LOCAL = ["127.0.0.1"]


def unrestricted_sender(*answers: Sequence[str], **overrides) -> HttpWebhookSender:
    """Builds a sender that may reach private addresses."""
    known = {"is_allowed": lambda _: True, "allow_private": True, "timeout_s": WAIT_MAX_S}
    return HttpWebhookSender(ScriptedResolver(*(answers or (LOCAL,))), **known | overrides)


async def send_to(webhook_sender, url, **overrides) -> DeliveryResult:
    webhook = a_webhook(project(), url=url)
    return await webhook_sender.send(a_delivery(webhook, body=BODY, **overrides), webhook, NOON)


# --- every adapter -----------------------------------------------------------------------------


@asynccontextmanager
async def memory_sender(status: int | None) -> AsyncIterator[tuple[WebhookSender, str]]:
    result = DeliveryResult(None, "closed") if status is None else DeliveryResult(status)
    yield MemoryWebhookSender(lambda _: result), "https://hooks.example/"


@asynccontextmanager
async def http_sender(status: int | None) -> AsyncIterator[tuple[WebhookSender, str]]:
    answer = hang_up if status is None else with_status(f"{status} Word")
    async with receiver(answer=answer) as there:
        yield unrestricted_sender(), there.url()


EVERY_ADAPTER = pytest.mark.parametrize("open_sender", [memory_sender, http_sender])


@EVERY_ADAPTER
@pytest.mark.parametrize("status", [200, 299, 404, 500])
async def test_status_of_the_webhook_is_the_result(open_sender, status):
    async with open_sender(status) as (sender, url):
        sent = await send_to(sender, url)
    assert sent == DeliveryResult(status)
    assert sent.is_received is (status < 300)


@EVERY_ADAPTER
async def test_missing_response_is_a_result_with_a_word(open_sender):
    async with open_sender(None) as (sender, url):
        sent = await send_to(sender, url)
    assert (sent.status, bool(sent.error), sent.is_received) == (None, True, False)


@EVERY_ADAPTER
async def test_concurrent_messages_each_have_a_result(open_sender):
    async with open_sender(200) as (sender, url):
        sent = await asyncio.gather(*(send_to(sender, url) for _ in range(5)))
    assert sent == [DeliveryResult(200)] * 5


# --- messages ----------------------------------------------------------------------------------


async def test_message_is_signed_as_standard_webhooks_says():
    now = datetime.now(UTC)
    async with receiver() as there:
        webhook = a_webhook(project(), url=there.url("/a/b?c=%20d"))
        delivery = a_delivery(webhook, body=BODY)
        assert await unrestricted_sender().send(delivery, webhook, now) == DeliveryResult(204)
    [(line, head, body)] = there.got
    assert line == "POST /a/b?c=%20d HTTP/1.1"
    assert head["host"] == f"hooks.example:{there.port}"
    assert head["content-type"] == "application/json"
    assert head["webhook-id"] == str(delivery.id)
    assert head["webhook-timestamp"] == str(int(now.timestamp()))
    assert body == BODY
    assert Verifier(format_secret(webhook.secret)).verify(body, head) == json.loads(BODY)
    other = Verifier("whsec_" + base64.b64encode(b"another" * 5).decode())
    for wrong, text in ((other, body), (Verifier(format_secret(webhook.secret)), body + b" ")):
        with pytest.raises(WebhookVerificationError):
            wrong.verify(text, head)


@pytest.mark.parametrize("wanted", WebhookFormat)
async def test_body_is_in_the_format_of_the_receiver(wanted):
    now, body = datetime.now(UTC), b'{"type": "alert.changed", "data": {}, "text": "a < b"}'
    async with receiver() as there:
        webhook = a_webhook(project(), url=there.url(), format=wanted)
        await unrestricted_sender().send(a_delivery(webhook, body=body), webhook, now)
    [(_, head, sent)] = there.got
    assert sent == format_body(body, wanted)
    assert Verifier(format_secret(webhook.secret)).verify(sent, head) == json.loads(sent)


async def test_old_signature_is_rejected():
    then = datetime.now(UTC) - timedelta(hours=1)
    async with receiver() as there:
        webhook = a_webhook(project(), url=there.url())
        await unrestricted_sender().send(a_delivery(webhook, body=BODY), webhook, then)
    [(_, head, body)] = there.got
    with pytest.raises(WebhookVerificationError):
        Verifier(format_secret(webhook.secret)).verify(body, head)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status):
    async with receiver() as elsewhere:
        answer = with_status(f"{status} Away", f"location: {elsewhere.url()}")
        async with receiver(answer=answer) as there:
            sent = await send_to(unrestricted_sender(), there.url())
    assert sent == DeliveryResult(status)
    assert not sent.is_received
    assert elsewhere.got == []


# --- faulty receivers --------------------------------------------------------------------------


async def test_endless_body_is_not_read():
    async with receiver(answer=endless_body) as there:
        assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(200)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (silence, "timeout"),
        (trickle, "broken_connection"),
        (endless_head, "broken_connection"),
        (garbage, "broken_connection"),
        (hang_up, "broken_connection"),
        (with_status("99 Low"), "broken_connection"),
    ],
    ids=["silence", "trickle", "endless_head", "garbage", "hang_up", "status"],
)
async def test_invalid_response_is_reported_by_error_code(answer, error):
    async with receiver(answer=answer) as there:
        within_s = SOON_S if error == "timeout" else WAIT_MAX_S
        webhook_sender = unrestricted_sender(timeout_s=within_s)
        assert await send_to(webhook_sender, there.url()) == DeliveryResult(None, error)


@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
async def test_interim_responses_are_passed_over(end):
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [
            "HTTP/1.1 100",
            "",
            "HTTP/1.1 103 Early Hints",
            "link: </a>",
            "",
            "HTTP/1.1 201 Made",
        ]
        writer.write(end.join([*lines, "content-length: 0", "", ""]).encode())
        await writer.drain()

    async with receiver(answer=answer) as there:
        assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(201)


@pytest.mark.parametrize("line", ["HTTP/1.0 204 No Content", "HTTP/1.1 204 ", "HTTP/1.1 204"])
async def test_status_line_may_be_of_http_1_0_and_without_a_reason(line):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"{line}\r\n\r\n".encode())
        await writer.drain()

    async with receiver(answer=answer) as there:
        assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(204)


async def test_bytes_of_a_head_may_come_one_at_a_time():
    async with receiver(answer=byte_by_byte) as there:
        assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(204)


@pytest.mark.parametrize(
    ("count", "result"),
    [
        (INTERIM_MAX, DeliveryResult(204)),
        (INTERIM_MAX + 1, DeliveryResult(None, "broken_connection")),
    ],
)
async def test_interim_responses_have_a_limit(count, result):
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * count)
        await OK(writer)

    async with receiver(answer=answer) as there:
        assert await send_to(unrestricted_sender(), there.url()) == result


async def test_headers_of_a_response_are_not_parsed():
    """h11 refused this one after eight seconds, in which the worker did nothing else."""
    slow = "x: " + "\t " * 15_000 + "\0"
    async with receiver(answer=with_status("200 OK", slow)) as there:
        assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(200)


async def test_closed_port_is_unreachable():
    async with receiver() as there:
        pass
    assert await send_to(unrestricted_sender(), there.url()) == DeliveryResult(None, "unreachable")


async def test_connection_without_an_answer_is_given_up_before_the_message():
    with socket.create_server((LOCAL[0], 0)) as there:  # accepts nothing, so TLS waits
        url = f"https://hooks.example:{there.getsockname()[1]}/"
        limits = {"connect_timeout_s": 0.01, "timeout_s": 2 * WAIT_MAX_S}
        async with in_time():
            sent = await send_to(unrestricted_sender(**limits), url)
    assert sent == DeliveryResult(None, "timeout")


async def test_unknown_host_and_slow_lookup_are_reported():
    async def unknown(host, port):
        raise socket.gaierror("no such name")

    async def slow(host, port):
        await silence(None)

    for resolve, error, within_s in (
        (unknown, "no_usable_target", WAIT_MAX_S),
        (slow, "timeout", SOON_S),
    ):
        webhook_sender = replace(unrestricted_sender(timeout_s=within_s), resolve=resolve)
        assert await send_to(webhook_sender, "http://x.example/") == DeliveryResult(None, error)
    assert await send_to(unrestricted_sender([]), "http://x.example/") == DeliveryResult(
        None, "no_usable_target"
    )


async def test_unexpected_error_is_reported_as_internal():
    async def broken(host, port):
        raise RuntimeError("no")

    webhook_sender = replace(unrestricted_sender(), resolve=broken)
    assert await send_to(webhook_sender, "http://x.example/") == DeliveryResult(None, "internal")


# --- admitted addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%lo"],
        ["no address"],
    ],
    ids=["loopback", "mixed", "metadata", "v6", "mapped", "nat64", "scoped", "garbage"],
)
async def test_private_addresses_are_refused(found):
    async with receiver() as there:
        webhook_sender = HttpWebhookSender(ScriptedResolver(found), timeout_s=WAIT_MAX_S)
        sent = await send_to(webhook_sender, there.url(scheme="https"))
    assert sent == DeliveryResult(None, "no_usable_target")
    assert there.got == []


async def test_plain_http_is_refused_before_lookup():
    script = ScriptedResolver(["8.8.8.8"])
    assert await send_to(HttpWebhookSender(script), "http://x.example/") == DeliveryResult(
        None, "no_usable_target"
    )
    assert script.asked == []


async def test_changed_dns_answer_cannot_redirect_to_private_address():
    # 127.0.0.2 is admitted: it stands for the Internet.
    async with receiver("127.0.0.2") as outside, receiver("127.0.0.1", outside.port) as inside:
        script = ScriptedResolver(["127.0.0.2"], ["127.0.0.1"])
        webhook_sender = replace(
            unrestricted_sender(), resolve=script, is_allowed=lambda address: address == "127.0.0.2"
        )
        assert await send_to(webhook_sender, outside.url()) == DeliveryResult(204)
        assert script.asked == [("hooks.example", outside.port)]
        assert await send_to(webhook_sender, outside.url()) == DeliveryResult(
            None, "no_usable_target"
        )
    assert len(outside.got) == 1
    assert inside.got == []


async def test_first_reachable_address_is_used_up_to_limit():
    async with receiver("127.0.0.2") as there:
        silent = [f"127.0.0.{n}" for n in range(3, 3 + ADDRESSES_MAX - 1)]
        assert await send_to(
            unrestricted_sender([*silent, "127.0.0.2"]), there.url()
        ) == DeliveryResult(204)
        assert await send_to(
            unrestricted_sender(["127.0.0.2", *silent]), there.url()
        ) == DeliveryResult(204)
        beyond = [*silent, "127.0.0.9", "127.0.0.2"]
        assert await send_to(unrestricted_sender(beyond), there.url()) == DeliveryResult(
            None, "unreachable"
        )


async def test_names_are_resolved_by_the_host():
    resolver = SystemResolver()
    found = await resolver("localhost", 80)
    assert "127.0.0.1" in found or "::1" in found
    assert await resolver("127.1", 80) == ["127.0.0.1"]
    with pytest.raises(UnicodeError):
        await resolver("a..b", 80)


async def test_names_without_an_answer_delay_no_other_name():
    """They wait for longer than their deliveries, since a thread can't be interrupted."""
    answered = threading.Event()

    def look_up(host: str, _: int) -> Sequence[str]:
        if host != "known.example":
            answered.wait()
        return LOCAL

    resolver = SystemResolver(look_up)
    unanswered = [
        asyncio.create_task(resolver(f"{n}.example", 80))
        for n in range(2 * CONCURRENT_DELIVERIES_MAX)
    ]
    known = asyncio.create_task(resolver("known.example", 80))
    try:
        async with in_time():
            assert await known == LOCAL
    finally:
        answered.set()
        await asyncio.gather(*unanswered)


async def test_look_up_that_ends_leaves_its_thread_to_another(caplog):
    """Also one that fails, or that is given up before it ends."""
    answered, begun = threading.Event(), threading.Event()

    def look_up(host: str, _: int) -> Sequence[str]:
        begun.set()
        answered.wait()
        if host == "unknown.example":
            raise socket.gaierror("no such name")
        return LOCAL

    resolver = SystemResolver(look_up)
    given_up = asyncio.create_task(resolver("slow.example", 80))
    await until(begun.is_set)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    answered.set()
    with pytest.raises(socket.gaierror):
        await resolver("unknown.example", 80)
    async with in_time():
        found = [await resolver("known.example", 80) for _ in range(RESOLVER_THREADS)]
    assert found == [LOCAL] * RESOLVER_THREADS
    assert caplog.messages == []


ENDING = """
import asyncio, threading
from adapters.webhook_sender import SystemResolver
begun = threading.Event()

def look_up(host, port):
    begun.set()
    threading.Event().wait()

async def main():
    asking = asyncio.create_task(SystemResolver(look_up)("unanswered.example", 80))
    while not begun.is_set():
        await asyncio.sleep(0)
    asking.cancel()

asyncio.run(main())
"""


def test_process_exits_before_a_name_is_answered():
    done = subprocess.run([sys.executable, "-c", ENDING], timeout=WAIT_MAX_S, check=False)
    assert done.returncode == 0


# --- TLS ---------------------------------------------------------------------------------------


def tls_contexts(name: str, folder) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Returns the TLS context of a server with this name, and of a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    own = folder / "own.pem"
    own.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own)
    client = ssl.create_default_context(cadata=pem.decode())
    return server, client


async def test_tls_verifies_host_name(tmp_path):
    server, client = tls_contexts("hooks.example", tmp_path)
    async with receiver(tls=server) as there:
        webhook_sender = unrestricted_sender(tls=client, allow_private=False)
        assert await send_to(webhook_sender, there.url(scheme="https")) == DeliveryResult(204)
        wrong = there.url(host="other.example", scheme="https")
        assert await send_to(webhook_sender, wrong) == DeliveryResult(None, "tls")
        untrusting = unrestricted_sender(allow_private=False)
        assert await send_to(untrusting, there.url(scheme="https")) == DeliveryResult(None, "tls")
    [(_, head, _)] = there.got
    assert head["host"] == f"hooks.example:{there.port}"


async def test_connections_are_not_reused():
    async with receiver(answer=OK) as there:
        webhook_sender = unrestricted_sender()
        for _ in range(3):
            assert await send_to(webhook_sender, there.url()) == DeliveryResult(204)
    assert [head["connection"] for _, head, _ in there.got] == ["close"] * 3
