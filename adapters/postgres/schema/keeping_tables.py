"""The tables of erasing, as Piccolo sees them; tables.py says more."""

from typing import Final

from piccolo.columns import JSON, UUID, Bytea, Text, Timestamptz
from piccolo.table import Table


class ErasureRow(Table, tablename="erasures"):
    project_id = UUID(primary_key=True)
    id = UUID()
    organization_id = UUID()
    kind = Text()
    owner = Text(null=True, default=None)
    salt = Bytea()
    digest = Bytea()
    state = Text()
    requested_at = Timestamptz()
    actor_user_id = UUID(null=True, default=None)
    actor_key_id = UUID(null=True, default=None)
    actor_name = Text()
    removed_at = Timestamptz(null=True, default=None)
    rows = JSON()


class ErasedTraceRow(Table, tablename="erased_traces"):
    project_id = UUID(primary_key=True)
    trace_id = UUID()
    erasure_id = UUID()
    erased_at = Timestamptz()


KEEPING: Final = (ErasureRow, ErasedTraceRow)
