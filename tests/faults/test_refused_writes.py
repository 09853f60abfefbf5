"""PostgreSQL that answers and takes no writes: told in time, and reads go on."""

import pytest

from tests.faults.conftest import Loading, assert_read, until_accepted, until_refused
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
