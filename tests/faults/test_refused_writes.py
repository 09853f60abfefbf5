"""Servers that answer and take no writes: told in time, and what can go on goes on."""

import pytest
import redis

from tests.faults.conftest import Loading, assert_read, more, until_accepted, until_refused
from tests.faults.report import seen
from tests.faults.stack import Stack

pytestmark = pytest.mark.e2e


def test_a_read_only_server(stack: Stack, loading: Loading) -> None:
    """As after a failover to which nobody has told us: not ready, and it reads on."""
    with loading() as load:
        stack.tell_postgres(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        told = stack.until_unready(frozenset({"postgres"}))
        until_refused(load)
        assert_read(stack, load)
        assert stack.lives()
        stack.tell_postgres(
            "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"
        )
        ready = stack.until_ready()
        back = until_accepted(load)
    seen(f"PostgreSQL read-only: told after {told:.2f} s; ready {ready:.2f} s after it was lifted, "
         f"accepting {back:.2f} s later; {load.accepted} accepted, {load.dropped} dropped; "
         f"{dict(load.outcomes)}")  # fmt: skip


@pytest.mark.faults
def test_a_redis_that_takes_no_writes(stack: Stack, loading: Loading) -> None:
    """As without its replicas, or without memory: each process limits by itself."""
    since = stack.logged("serve")
    with loading() as load, redis.Redis.from_url(stack.redis_url) as told:
        told.config_set("min-replicas-to-write", 1)
        more(load, 100)
        assert stack.readiness() == (200, frozenset())
        told.config_set("min-replicas-to-write", 0)
        more(load)
    assert set(load.outcomes) == {201, 202}, load.outcomes
    assert "Traceback" not in stack.log("serve", since)
    seen(f"Redis refuses writes: {load.accepted} accepted, {load.dropped} dropped")
