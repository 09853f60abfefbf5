"""Scores: figures and totals from indexes alone, and sessions ranked by their newest number."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T13:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "figures of scores"


# What lists are narrowed by beside: totals are counted without looking at a row.
COUNTED = {
    "trace_scores": "outcome, source, data_type, environment",
    "session_scores": "outcome, source, data_type",
}


def told_by_name(table: str) -> tuple[str, ...]:
    return (
        f"DROP INDEX IF EXISTS {table}_created, {table}_name",
        f"""
        CREATE INDEX IF NOT EXISTS {table}_created ON {table} (project_id, created_at, id)
            INCLUDE ({COUNTED[table]})
        """,
        # A summary walks over all of it, a trend or a distribution over one name.
        f"""
        CREATE INDEX IF NOT EXISTS {table}_name ON {table} (project_id, name, created_at, id)
            INCLUDE (number, judge_kind, {COUNTED[table]})
        """,
        # Index-only scans need pages that vacuum has seen, also where rows are only ever added.
        f"""
        ALTER TABLE {table} SET (
            autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05,
            autovacuum_analyze_scale_factor = 0.05
        )
        """,
    )


def told_by_row(table: str) -> tuple[str, ...]:
    return (
        f"""
        ALTER TABLE {table} RESET (
            autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_scale_factor,
            autovacuum_analyze_scale_factor
        )
        """,
        f"DROP INDEX IF EXISTS {table}_created, {table}_name",
        f"CREATE INDEX IF NOT EXISTS {table}_created ON {table} (project_id, created_at, id)",
        f"CREATE INDEX IF NOT EXISTS {table}_name ON {table} (project_id, name, created_at, id)",
    )


FORWARDS = (
    *told_by_name("trace_scores"),
    *told_by_name("session_scores"),
    # The newest number of each session: the last of each piece.
    """
    CREATE INDEX IF NOT EXISTS session_scores_ranked
        ON session_scores (project_id, name, session_id, created_at, id) INCLUDE (number, run_id)
        WHERE number IS NOT NULL
    """,
)

BACKWARDS = (
    "DROP INDEX IF EXISTS session_scores_ranked",
    *told_by_row("session_scores"),
    *told_by_row("trace_scores"),
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
