"""What judges cost: votes and budgets of runs, budgets of months, and what of them is used."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.schema.migrating import statements

ID = "2026-11-25T16:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "spending"

FORWARDS = (
    """
    ALTER TABLE eval_runs
        ADD COLUMN IF NOT EXISTS votes integer NOT NULL DEFAULT 1,
        ADD COLUMN IF NOT EXISTS max_cost_usd numeric
    """,
    """
    CREATE TABLE IF NOT EXISTS judge_budgets (
        project_id uuid NOT NULL,
        monthly_usd numeric NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (project_id)
    )
    """,
    # What has been spent or reserved, of a month or a run; a row only where there's a budget.
    """
    CREATE TABLE IF NOT EXISTS judge_spending (
        project_id uuid NOT NULL,
        scope text COLLATE "C" NOT NULL,
        usd numeric NOT NULL,
        created_at timestamptz NOT NULL,
        PRIMARY KEY (project_id, scope)
    )
    """,
    # Reasons quote what a trace says: they go with it.
    "ALTER TABLE judge_verdicts ADD COLUMN IF NOT EXISTS trace_id uuid",
    """
    CREATE INDEX IF NOT EXISTS judge_verdicts_trace ON judge_verdicts (project_id, trace_id)
    """,
    """
    CREATE INDEX IF NOT EXISTS judge_calls_run ON judge_calls (project_id, run_id)
        WHERE run_id IS NOT NULL
    """,
    "CREATE INDEX IF NOT EXISTS judge_calls_age ON judge_calls (created_at)",
)

BACKWARDS = (
    "DROP INDEX IF EXISTS judge_calls_age, judge_calls_run, judge_verdicts_trace",
    "ALTER TABLE judge_verdicts DROP COLUMN IF EXISTS trace_id",
    "DROP TABLE IF EXISTS judge_spending, judge_budgets",
    """
    ALTER TABLE eval_runs DROP COLUMN IF EXISTS votes, DROP COLUMN IF EXISTS max_cost_usd
    """,
)


async def forwards() -> MigrationManager:
    return statements(ID, DESCRIPTION, FORWARDS, BACKWARDS)
