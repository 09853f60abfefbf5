"""Redaction of secrets and personal data."""

import json
import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation.evidence.redaction import (
    BYTES_PER_TOKEN,
    QUOTE,
    RedactedText,
    RedactionMode,
    Redactor,
    estimate_tokens,
    prepare_text,
    quote_lines,
    sanitize_text,
)
from tests.support.problems import for_each

R = "Zq8Rk2Lm5Tn7Vw9Xy1Bc3Df6Gh4Jp0Ks8Mn2Qr5Tv7Wx9Yz"  # not a real key
HEX = "0123456789abcdef" * 4
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{R}\n{R}\n-----END RSA PRIVATE KEY-----"
SECRETS = [
    f"sk-{R}",
    f"sk-proj-{R}_x-{R}",
    f"sk-ant-api03-{R}",
    f"sk-or-v1-{HEX}",
    f"pk-lf-{HEX[:36]}",
    f"pp_{HEX}",
    f"AIza{R[:35]}",
    f"ya29.{R}",
    f"GOCSPX-{R[:28]}",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"ghp_{R[:36]}",
    f"github_pat_{R}",
    f"glpat-{R[:20]}",
    f"npm_{R[:36]}",
    f"pypi-AgEIcHlwaS5vcmc{R}",
    f"hf_{R[:34]}",
    f"dop_v1_{HEX}",
    f"xoxb-123456789012-{R[:24]}",
    f"xapp-1-{R}",
    f"hooks.slack.com/services/T00000000/B00000000/{R[:24]}",
    f"123456789:AA{R[:33]}",
    f"SK{HEX[:32]}",
    f"SG.{R[:22]}.{R[:43]}",
    f"sk_live_{R[:24]}",
    f"rk_test_{R[:24]}",
    f"whsec_{R[:32]}",
    f"shpat_{HEX[:32]}",
    *(f"{prefix}{R}" for prefix in ("gsk_", "xai-", "pplx-", "r8_", "tvly-", "fw_", "pcsk_")),
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{R}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{R}.{R}.{R}",
    PEM,
    PEM.replace("RSA ", ""),
    PEM.replace("RSA ", "OPENSSH ").replace("\n", "\\n"),
    PEM.partition("\n-----END")[0],
]
# Each secret with its context.
SECRET_BY_CONTEXT = [
    (R, "Authorization: Bearer {}"),
    (R, "authorization: bearer {}"),
    (R[:24] + "==", "Authorization: Basic {}"),
    ((R * 2)[:40], 'aws_secret_access_key = "{}"'),
    ((R * 2)[:40], '{{"AWS_SECRET_ACCESS_KEY": "{}"}}'),
    ("user:hunter2", "postgres://{}@db:5432/x"),
    (":hunter2", "redis://{}@cache"),
]
PERSONAL = [
    *("a@b.co", "first.last+tag@mail.example.org", "jürgen@example.de"),
    *("+49 30 901820", "+14155552671", "(415) 555-2671", "415-555-2671", "030 9018 2000"),
    *("4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005"),
]
HARMLESS = [
    *("task-force", "sk-learn", "risk-averse-portfolio", "desk-1", "pp_1", "eyJ", "SKU 12", "xoxo"),
    *("order 1234567890", "2026-03-01 12:00", "1.2.3", "https://example.org/a:b", "3.141592653589"),
    *("version 10.0.0.1", "bearer of news", "basic income", "2026-03-01", "12 345"),
    *("550e8400-e29b-41d4-a716-446655440000", "4111 1111 1111 1112", "@media", "a @ b", ""),
]
around = st.text(st.characters(exclude_categories=["Cs", "L", "N"]), max_size=20).filter(
    lambda text: not re.search(r"[\w.+=/~%'-]", text)
)


def masked(text, masking=RedactionMode.SECRETS):
    return Redactor(masking).redact(text)


CONTEXTS = ["{}", "key: {}.", '{{"a":"{}"}}', "x\\n{}\\n", "\\u0022{}"]


@for_each(product(SECRETS, CONTEXTS))
def test_secrets_are_redacted_anywhere_in_a_text(secret, context):
    redacted = masked(context.format(secret))
    assert re.search(r"\[secret:1\]", redacted)
    assert not set(re.findall(r"\w{8,}", secret)) & set(re.findall(r"\w{8,}", redacted))


@pytest.mark.parametrize(("secret", "context"), SECRET_BY_CONTEXT)
def test_secrets_after_known_names_are_redacted(secret, context):
    assert masked(context.format(secret)) == context.format("[secret:1]")


@given(st.sampled_from(SECRETS), around, around)
def test_secrets_are_redacted_in_every_text(secret, before, after):
    text = before + secret + after
    assert secret not in masked(text)
    assert secret not in masked(json.dumps({"a": text}))
    assert secret not in masked(json.dumps(json.dumps(text)))


@given(st.sampled_from(PERSONAL), around, around)
def test_personal_data_is_redacted_in_pii_mode(data, before, after):
    text = f"{before} {data} {after}"
    assert data not in masked(text, RedactionMode.SECRETS_PII)
    assert data in masked(text, RedactionMode.SECRETS)


def test_token_with_a_long_part_is_redacted():
    token = f"eyJ{'a' * 100_000}.{R}.{R}"
    assert masked(f"{'-eyJ' * 10} {token} eyJhbGciOi") == f"{'-eyJ' * 10} [secret:1] eyJhbGciOi"


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_text_is_unchanged(text):
    assert masked(text, RedactionMode.SECRETS_PII) == text


@given(st.text(), st.sampled_from(SECRETS + PERSONAL))
def test_mode_off_changes_nothing(text, secret):
    assert masked(text + secret, RedactionMode.OFF) == text + secret


def test_equal_texts_get_equal_numbers():
    redactor = Redactor(RedactionMode.SECRETS_PII)
    one, two = SECRETS[0], SECRETS[9]
    assert redactor.redact(f"{one} {two} {one}") == "[secret:1] [secret:2] [secret:1]"
    assert redactor.redact(f"a@b.co {two}") == "[email:3] [secret:2]"
    kinds = redactor.redact("4111 1111 1111 1111, +14155552671, a@b.co")
    assert kinds == "[card:4], [phone:5], [email:3]"


@given(st.text(st.sampled_from("aA0-_.+ ey@:/J|kKEYPRIVATE\n"), max_size=200))
def test_redaction_is_idempotent(text):
    once = masked(text, RedactionMode.SECRETS_PII)
    assert masked(once, RedactionMode.SECRETS_PII).count("[") == once.count("[")


# --- truncation ----------------------------------------------------------------------------

texts = st.text(max_size=300) | st.builds(
    lambda part, times: part * times, st.text(min_size=1, max_size=4), st.integers(1, 3_000)
)


@given(texts, st.integers(0, 120))
def test_truncated_text_is_within_its_budget(text, tokens):
    short = RedactedText(sanitize_text(text)).cut(tokens)
    assert estimate_tokens(quote_lines(short)) <= tokens or (tokens == 0 and not short) or not short
    assert (short == sanitize_text(text)) == RedactedText(sanitize_text(text)).fits(
        tokens
    ) or not text.strip()


@pytest.mark.parametrize("line", ["\n", "a\n", "é\n", "a few words\n"])
def test_line_prefixes_count_towards_the_budget(line):
    assert estimate_tokens(quote_lines(RedactedText(line * 5_000).cut(100))) <= 100


def test_two_thirds_come_from_the_head_and_one_from_the_tail():
    text = "".join(f"{n:05}" for n in range(2_000))
    head, mark, tail = RedactedText(text).cut(100).split("\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert mark == f"[… {len(text) - len(head) - len(tail)} characters left out …]"
    assert len(head) == pytest.approx(2 * len(tail), abs=2)
    assert 330 <= len(head) + len(tail) <= 400


@for_each(product([*SECRETS, "a" * 5_000 + "." + R], [0, 1, 7, 20]))
def test_truncation_leaves_no_partial_secret(secret, shift):
    tokens, window = 100, 1_600
    for edge in (window * 2 // 3, 12_000 - (window - window * 2 // 3)):
        at = edge - len(secret) // 2 + shift
        text = ("word " * 4_000)[:at] + " " + secret + " " + ("word " * 4_000)
        text = text[:12_000]
        short = prepare_text(text, tokens, Redactor(RedactionMode.SECRETS))
        for part in re.findall(r"[A-Za-z0-9]{16,}", secret):
            assert part[:12] not in short.head + short.tail
            assert part[-12:] not in short.head + short.tail


@given(st.text())
def test_sanitized_text_is_encodable_with_uniform_newlines(text):
    clean = sanitize_text(text + "\ud800\x00\u2028\x85a")
    clean.encode()
    assert len(clean.split("\n")) == max(1, len(clean.splitlines()))
    assert all(line.startswith(QUOTE) for line in quote_lines(clean).splitlines())
    assert not set(clean) & {"\x00", "\x1f", "\r", "\u2028"}


def test_token_estimate_is_a_quarter_of_the_bytes():
    assert [estimate_tokens(text) for text in ("", "a", "abcd", "abcde", "é" * 4)] == [
        0,
        1,
        1,
        2,
        2,
    ]
    assert BYTES_PER_TOKEN == 4
