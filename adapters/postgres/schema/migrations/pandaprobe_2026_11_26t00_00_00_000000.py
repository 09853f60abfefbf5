"""What is being erased is hidden: the tables that show it have views without it."""

from typing import Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-26T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "hiding what is being erased"

# Whoever is being erased, of all projects: few, so that a row is looked up in what a statement has
# put together once.
_OWNED: Final = """
((s.project_id, s.{0}_id) IN (
  SELECT e.project_id, e.owner FROM public.erasures AS e WHERE e.owner IS NOT NULL AND e.kind = '{0}'
)) IS NOT TRUE
"""
# OFFSET 0 keeps it a look-up for a row: as a join it might be planned over all of a project.
_IN_SESSION: Final = """
NOT EXISTS (
  SELECT FROM public.traces AS t JOIN public.erasures AS e
    ON e.project_id = t.project_id AND e.owner = t.user_id AND e.kind = 'user'
  WHERE t.project_id = s.project_id AND t.session_id = s.session_id AND e.owner IS NOT NULL
  OFFSET 0
)
"""
_IN_TRACE: Final = """
NOT EXISTS (
  SELECT FROM public.traces AS t JOIN public.erasures AS e ON e.project_id = t.project_id
  WHERE t.project_id = s.project_id AND t.trace_id = s.trace_id AND e.owner IS NOT NULL
    AND e.owner = CASE e.kind WHEN 'user' THEN t.user_id ELSE t.session_id END
  OFFSET 0
)
"""


def _view(table: str, *shown: str) -> str:
    where = " AND ".join(shown)
    return f"CREATE OR REPLACE VIEW veiled.{table} AS SELECT * FROM public.{table} AS s WHERE {where}"


_OF_USER: Final = _OWNED.format("user")
_OF_SESSION: Final = _OWNED.format("session")
FORWARDS = (
    "CREATE INDEX IF NOT EXISTS erasures_veil ON erasures (project_id) WHERE owner IS NOT NULL",
    "CREATE SCHEMA IF NOT EXISTS veiled",
    _view("traces", _OF_USER, _OF_SESSION),
    _view("spans", _IN_TRACE),
    _view("trace_scores", _IN_TRACE),
    _view("trace_users", _OF_USER),
    # As scores of a session go where it loses a trace, so it is hidden with all its numbers.
    _view("sessions", _OF_SESSION, _IN_SESSION),
    _view("session_scores", _OF_SESSION, _IN_SESSION),
    # Until the end of a transaction its statements find the views in place of the tables, where
    # there is anything to hide.
    """
    CREATE OR REPLACE FUNCTION veil(of uuid) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM public.erasures WHERE project_id = of AND owner IS NOT NULL) THEN
            PERFORM set_config('search_path', 'veiled, ' || current_setting('search_path'), true);
        END IF;
    END $$
    """,
)

BACKWARDS = (
    "DROP FUNCTION IF EXISTS veil(uuid)",
    "DROP SCHEMA IF EXISTS veiled CASCADE",
    "DROP INDEX IF EXISTS erasures_veil",
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
