"""Servers that answer but reject writes: reported in time, and the rest continues to work."""

import pytest
import redis

from tests.faults.conftest import (
    Loading,
    assert_read,
    until_accepted,
    until_refused,
    wait_more_accepted,
)
from tests.faults.support.report import report_line
from tests.faults.support.stack import Stack

pytestmark = pytest.mark.e2e


def test_read_only_postgres_is_reported_and_still_read(stack: Stack, loading: Loading) -> None:
    """As after a failover without notice: not ready, but reads work."""
    with loading() as load:
        stack.execute_sql(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        reported = stack.until_unready(frozenset({"postgres"}))
        until_refused(load)
        assert_read(stack, load)
        assert stack.is_alive()
        stack.execute_sql(
            "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"
        )
        ready = stack.until_ready()
        back = until_accepted(load)
    report_line(
        f"PostgreSQL read-only: reported after {reported:.2f} s; "
        f"ready {ready:.2f} s after it was lifted, "
        f"accepting {back:.2f} s later; {load.accepted} accepted, {load.dropped} dropped; "
        f"{dict(load.outcomes)}"
    )


@pytest.mark.faults
def test_redis_without_writes_does_not_affect_ingestion(stack: Stack, loading: Loading) -> None:
    """As without its replicas or memory: each process limits rates by itself."""
    since = stack.log_size("serve")
    with loading() as load, redis.Redis.from_url(stack.redis_url) as client:
        client.config_set("min-replicas-to-write", 1)
        wait_more_accepted(load, 100)
        assert stack.readiness() == (200, frozenset())
        client.config_set("min-replicas-to-write", 0)
        wait_more_accepted(load)
    assert set(load.outcomes) == {201, 202}, load.outcomes
    assert "Traceback" not in stack.log("serve", since)
    report_line(f"Redis refuses writes: {load.accepted} accepted, {load.dropped} dropped")
