"""Contract of SecretCipher, run against every adapter."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from adapters.aes_gcm import AesGcmCipher, generate_key
from adapters.memory.secret_cipher import MemorySecretCipher
from application.ports import SecretCipher, UnreadableSecret
from domain.errors import Conflict

HERE = b"webhooks:1"
KEYS = {key_id: generate_key(key_id) for key_id in ("old", "new", "main")}

type Make = Callable[..., SecretCipher]


@pytest.fixture(params=["memory", "aes_gcm"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a cipher with the keys of the given ids."""
    if request.param == "memory":
        return lambda *key_ids: MemorySecretCipher(key_ids)
    return lambda *key_ids: AesGcmCipher.parse([KEYS[one] for one in key_ids])


@pytest.mark.parametrize("secret", [b"", b"s", b"\x00\xff" * 16, b"1:2:" * 1000])
def test_secret_is_decrypted_only_with_its_own_location(make, secret):
    cipher = make("main")
    stored = cipher.encrypt(secret, HERE)
    assert (stored.key_id, cipher.decrypt(stored, HERE)) == ("main", secret)
    for elsewhere in (b"", b"webhooks:2", HERE + b"1", HERE[:-1]):
        with pytest.raises(UnreadableSecret):
            cipher.decrypt(stored, elsewhere)


def test_equal_secrets_have_different_ciphertexts(make):
    cipher = make("main")
    assert len({cipher.encrypt(b"same", HERE).ciphertext for _ in range(50)}) == 50


def test_first_key_encrypts_and_all_decrypt(make):
    of_old = make("old").encrypt(b"secret", HERE)
    both = make("new", "old")
    assert list(both.key_ids) == ["new", "old"]
    assert both.decrypt(of_old, HERE) == b"secret"
    assert both.encrypt(b"secret", HERE).key_id == "new"


def test_missing_key_is_named(make):
    of_old = make("old").encrypt(b"secret", HERE)
    for cipher in (make("new"), make()):
        with pytest.raises(UnreadableSecret, match="'old'"):
            cipher.decrypt(of_old, HERE)


def test_without_a_key_nothing_is_encrypted(make):
    with pytest.raises(Conflict, match="key"):
        make().encrypt(b"secret", HERE)


def test_truncated_secret_is_unreadable(make):
    cipher = make("main")
    stored = cipher.encrypt(b"", HERE)
    for length in (0, 1, 11, len(stored.ciphertext) - 1):
        with pytest.raises(UnreadableSecret):
            cipher.decrypt(replace(stored, ciphertext=stored.ciphertext[:length]), HERE)


# --- AES-GCM alone ---------------------------------------------------------------------------


def test_altered_ciphertext_is_unreadable_and_shows_no_secret():
    cipher = AesGcmCipher.parse([KEYS["main"]])
    stored = cipher.encrypt(b"a secret of some length", HERE)
    assert b"secret" not in stored.ciphertext
    for at in range(len(stored.ciphertext)):
        altered = bytearray(stored.ciphertext)
        altered[at] ^= 1
        with pytest.raises(UnreadableSecret, match="'main'"):
            cipher.decrypt(replace(stored, ciphertext=bytes(altered)), HERE)


def test_another_key_of_the_same_id_does_not_decrypt():
    stored = AesGcmCipher.parse([KEYS["main"]]).encrypt(b"secret", HERE)
    with pytest.raises(UnreadableSecret, match="'main'"):
        AesGcmCipher.parse([generate_key("main")]).decrypt(stored, HERE)


@pytest.mark.parametrize(
    "text", ["", "k", "k:", ":" + "A" * 44, "k:" + "A" * 42, "k k:" + "A" * 43]
)
def test_invalid_key_is_refused(text):
    with pytest.raises(ValueError, match=r"(?i)key|padding"):
        AesGcmCipher.parse([text])


def test_two_keys_of_one_id_are_refused():
    with pytest.raises(ValueError, match="unique id"):
        AesGcmCipher.parse([generate_key("k"), generate_key("k")])


def test_standard_and_url_safe_base64_are_read():
    urlsafe = "k:" + "-_" * 21 + "8="
    standard = urlsafe.replace("-", "+").replace("_", "/")
    stored = AesGcmCipher.parse([urlsafe]).encrypt(b"secret", HERE)
    assert AesGcmCipher.parse([standard.rstrip("=")]).decrypt(stored, HERE) == b"secret"


def test_repr_shows_no_key():
    assert KEYS["main"].partition(":")[2] not in repr(AesGcmCipher.parse([KEYS["main"]]))
