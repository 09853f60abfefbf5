"""Parameters of database URLs: which are kept, left out, or refused by name."""

import pytest

from adapters.postgres.database.connections.url_parameters import (
    CONNECT_TIMEOUT_MAX_S,
    connect_timeout,
    driver_url,
    parameter_problems,
    system_root_file,
)

URL = "postgresql://ada:s%40cret@db.example.com:5432,other/traces"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", ""),
        ("?sslmode=verify-full&application_name=x", "?sslmode=verify-full&application_name=x"),
        ("?connect_timeout=10&sslmode=require", "?sslmode=require"),
        ("?keepalives=1&keepalives_idle=30&tcp_user_timeout=9", ""),
        ("?channel_binding=prefer&gssencmode=disable&sslcertmode=allow", ""),
        ("?options=-c%20search_path%3Da%2Cb&sslsni=1", "?options=-c+search_path%3Da%2Cb"),
    ],
)
def test_parameters_of_other_clients_are_left_out(given, kept):
    assert driver_url(URL + given) == URL + kept
    assert list(parameter_problems(URL + given)) == []


@pytest.mark.parametrize(
    ("parameter", "advice"),
    [
        ("channel_binding=require", "sslmode=verify-full"),
        ("gssencmode=require", "use TLS"),
        ("sslcertmode=require", "sslcert"),
        ("load_balance_hosts=random", "accepts writes"),
        ("hostaddr=10.0.0.1", "in the place of the host"),
        ("require_auth=scram-sha-256", "remove it"),
        ("replication=database", "remove it"),
        ("connect_timeout=soon", "whole number"),
        ("sslrootcert=/missing/root.pem", "can't be read: No such file"),
        ("sslcert=/", "can't be read: Is a directory"),
        ("sslkey=%00", "can't be read"),
    ],
)
def test_unsupported_parameters_are_refused_by_name(parameter, advice):
    [problem] = parameter_problems(f"{URL}?{parameter}")
    assert parameter.partition("=")[0] in problem
    assert advice in problem


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", 5),
        ("?connect_timeout=0", 5),
        ("?connect_timeout=12", 12),
        ("?connect_timeout=9999", 60),
    ],
)
def test_connect_timeout_is_kept_to_within_its_maximum(query, seconds):
    assert connect_timeout(URL + query, 5) == seconds <= CONNECT_TIMEOUT_MAX_S


def test_readable_file_is_accepted(tmp_path):
    (tmp_path / "root.pem").touch()
    assert list(parameter_problems(f"{URL}?sslrootcert={tmp_path / 'root.pem'}")) == []


def test_authorities_of_the_machine_are_named_by_file():
    found, url = system_root_file(), f"{URL}?sslrootcert=system"
    if found is None:
        assert len(list(parameter_problems(url))) == 1
    else:
        assert list(parameter_problems(url)) == []
        assert "system" not in driver_url(url)
