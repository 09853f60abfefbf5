"""`dev` makes a key for the secrets in its database, once, and gives it to its children."""

import stat

import pytest

from adapters.aes_gcm import AesGcmCipher
from entrypoints.processes import dev_supervisor
from entrypoints.processes.dev_supervisor import SECRET_KEY
from entrypoints.settings import Settings, read_settings, with_defaults

OWN = f"own:{'A' * 43}"


def test_development_secret_key_is_created_once_and_readable_by_owner_only(tmp_path):
    key = dev_supervisor._ensure_secret_key(tmp_path)
    assert AesGcmCipher.parse([key]).key_ids[0].startswith("dev-")
    assert dev_supervisor._ensure_secret_key(tmp_path) == key
    assert [file.name for file in tmp_path.iterdir()] == [SECRET_KEY]
    assert stat.S_IMODE((tmp_path / SECRET_KEY).stat().st_mode) == 0o600


def test_another_folder_gets_another_key(tmp_path):
    (tmp_path / "a").mkdir()
    keys = {dev_supervisor._ensure_secret_key(folder) for folder in (tmp_path, tmp_path / "a")}
    assert len({key.partition(":")[0] for key in keys}) == 2


@pytest.mark.parametrize("name", ["PANDAPROBE_SECRET_KEYS", "PANDAPROBE_SECRET_KEYS_FILE"])
def test_children_and_commands_use_the_keys_of_the_environment(tmp_path, name):
    file = tmp_path / "keys"
    file.write_text(f"{OWN}\n")
    given = {name: str(file) if name.endswith("_FILE") else OWN}
    settings = read_settings(given)
    servers = dev_supervisor._environ(settings)
    assert read_settings(given | servers).secret_keys == (OWN,)  # of a child
    assert read_settings(with_defaults(given, servers)).secret_keys == (OWN,)  # of a command
    assert read_settings(with_defaults({}, servers)).secret_keys == (OWN,)
    assert dev_supervisor.secret_key_ids(settings, tmp_path) == {"own"}


def test_stored_development_secret_key_is_known_to_the_next_start(tmp_path):
    assert dev_supervisor.secret_key_ids(Settings(), tmp_path) == set()
    key = dev_supervisor._ensure_secret_key(tmp_path)
    assert dev_supervisor.secret_key_ids(Settings(), tmp_path) == {key.partition(":")[0]}
