"""The tables of evaluation, as Piccolo sees them; tables.py says more."""

from typing import Final

from piccolo.columns import (
    JSON,
    UUID,
    Array,
    BigInt,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
    Numeric,
    Text,
    Timestamptz,
)
from piccolo.table import Table


class TraceScoreRow(Table, tablename="trace_scores"):
    project_id = UUID(primary_key=True)
    id = UUID()
    trace_id = UUID()
    environment = Text(null=True, default=None)
    evidence_hash = Text(null=True, default=None)
    name = Text()
    outcome = Text()
    value = Text(null=True, default=None)
    number = DoublePrecision(null=True, default=None)
    data_type = Text()
    source = Text()
    run_id = UUID(null=True, default=None)
    author_id = UUID(null=True, default=None)
    reason = Text(null=True, default=None)
    metadata = JSON()
    judge_kind = Text(null=True, default=None)
    fingerprint = Text(null=True, default=None)
    code = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    original = DoublePrecision(null=True, default=None)


class SessionScoreRow(Table, tablename="session_scores"):
    project_id = UUID(primary_key=True)
    id = UUID()
    session_id = Text()
    name = Text()
    outcome = Text()
    value = Text(null=True, default=None)
    number = DoublePrecision(null=True, default=None)
    data_type = Text()
    source = Text()
    run_id = UUID(null=True, default=None)
    author_id = UUID(null=True, default=None)
    reason = Text(null=True, default=None)
    metadata = JSON()
    judge_kind = Text(null=True, default=None)
    fingerprint = Text(null=True, default=None)
    code = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class EvalRunRow(Table, tablename="eval_runs"):
    project_id = UUID(primary_key=True)
    id = UUID()
    target_type = Text()
    name = Text(null=True, default=None)
    metrics = Array(base_column=Text())
    targets = Integer()
    filters = JSON()
    sampling_rate = DoublePrecision()
    model = Text()
    signal_weights = JSON()
    monitor_id = UUID(null=True, default=None)
    status = Text()
    error_message = Text(null=True, default=None)
    created_at = Timestamptz()
    completed_at = Timestamptz(null=True, default=None)
    evaluated_count = Integer(null=True, default=None)
    scored_count = Integer(null=True, default=None)
    failed_count = Integer(null=True, default=None)
    skipped_count = Integer(null=True, default=None)
    codes = JSON(null=True, default=None)
    cancelled_at = Timestamptz(null=True, default=None)
    announced_at = Timestamptz(null=True, default=None)
    assessed_at = Timestamptz(null=True, default=None)
    votes = Integer(default=1)
    max_cost_usd = Numeric(null=True, default=None)
    definitions = JSON()


class EvalJobRow(Table, tablename="eval_jobs"):
    project_id = UUID(primary_key=True)
    run_id = UUID()
    target = Text()
    place = Integer()
    metrics = Array(base_column=Text(), null=True, default=None)
    state = Text()
    attempts = Integer()
    run_after = Timestamptz()
    due_at = Timestamptz(null=True, default=None)
    last_code = Text(null=True, default=None)
    scored = Integer(null=True, default=None)
    failed = Integer(null=True, default=None)
    skipped = Integer(null=True, default=None)
    codes = Array(base_column=Text(), null=True, default=None)
    updated_at = Timestamptz()


class MonitorRow(Table, tablename="monitors"):
    project_id = UUID(primary_key=True)
    id = UUID()
    name = Text()
    target_type = Text()
    metrics = Array(base_column=Text())
    selection = JSON()
    signal_weights = JSON()
    sampling_rate = DoublePrecision()
    model = Text(null=True, default=None)
    cadence = Text()
    only_if_changed = Boolean()
    status = Text()
    last_run_at = Timestamptz(null=True, default=None)
    last_run_id = UUID(null=True, default=None)
    next_run_at = Timestamptz(null=True, default=None)
    looked_at = Timestamptz(null=True, default=None)
    looked_at_trace = UUID(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()
    votes = Integer(default=1)
    max_cost_usd = Numeric(null=True, default=None)


class AlertRow(Table, tablename="alerts"):
    project_id = UUID(primary_key=True)
    id = UUID()
    monitor_id = UUID()
    metric = Text()
    figure = Text()
    threshold = DoublePrecision()
    clear_at = DoublePrecision()
    samples_min = Integer()
    breaches = Integer()
    recoveries = Integer()
    state = Text()
    since = Timestamptz()
    in_a_row = Integer()
    value = DoublePrecision(null=True, default=None)
    awaits = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class AlertChangeRow(Table, tablename="alert_changes"):
    project_id = UUID(primary_key=True)
    id = UUID()
    monitor_id = UUID()
    alert_id = UUID()
    run_id = UUID(null=True, default=None)
    before = Text()
    after = Text()
    value = DoublePrecision(null=True, default=None)
    at = Timestamptz()


class WebhookRow(Table, tablename="webhooks"):
    project_id = UUID(primary_key=True)
    id = UUID()
    url = Text()
    secret = Bytea()
    created_at = Timestamptz()


class AlertDeliveryRow(Table, tablename="alert_deliveries"):
    project_id = UUID(primary_key=True)
    id = UUID()
    webhook_id = UUID()
    change_id = UUID(null=True, default=None)
    body = Bytea()
    attempts = Integer()
    status = Integer(null=True, default=None)
    error = Text(null=True, default=None)
    next_attempt_at = Timestamptz(null=True, default=None)
    delivered_at = Timestamptz(null=True, default=None)
    held_until = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class CustomMetricRow(Table, tablename="custom_metrics"):
    project_id = UUID(primary_key=True)
    name = Text()
    id = UUID()
    revision = Integer()
    archived_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()


class CustomMetricRevisionRow(Table, tablename="custom_metric_revisions"):
    project_id = UUID(primary_key=True)
    name = Text()
    revision = Integer()
    kind = Text()
    description = Text()
    threshold = DoublePrecision()
    body = Bytea()
    created_at = Timestamptz()


class JudgeVerdictRow(Table, tablename="judge_verdicts"):
    project_id = UUID(primary_key=True)
    key = Bytea()
    outcome = JSON()
    usage = JSON()
    model = Text()
    created_at = Timestamptz()
    trace_id = UUID(null=True, default=None)


class JudgeCallRow(Table, tablename="judge_calls"):
    project_id = UUID(primary_key=True)
    id = UUID()
    run_id = UUID(null=True, default=None)
    target = Text()
    metric = Text()
    attempt = Integer()
    provider = Text()
    model = Text()
    input_tokens = BigInt()
    cache_read_tokens = BigInt()
    cache_write_tokens = BigInt()
    output_tokens = BigInt()
    reasoning_tokens = BigInt()
    usd = Numeric(null=True, default=None)
    price_version = Text(null=True, default=None)
    latency_ms = DoublePrecision()
    code = Text(null=True, default=None)
    created_at = Timestamptz()


class JudgeBudgetRow(Table, tablename="judge_budgets"):
    project_id = UUID(primary_key=True)
    monthly_usd = Numeric()
    updated_at = Timestamptz()


class JudgeSpendingRow(Table, tablename="judge_spending"):
    project_id = UUID(primary_key=True)
    scope = Text()
    usd = Numeric()
    created_at = Timestamptz()


class ReplyRow(Table, tablename="replies"):
    project_id = UUID(primary_key=True)
    operation = Text()
    key = Text()
    request_hash = Bytea()
    object_id = UUID()
    status = Integer(null=True, default=None)
    body = Bytea(null=True, default=None)
    held_until = Timestamptz()
    expires_at = Timestamptz()


EVALUATION: Final = (
    TraceScoreRow,
    SessionScoreRow,
    EvalRunRow,
    EvalJobRow,
    MonitorRow,
    AlertRow,
    AlertChangeRow,
    WebhookRow,
    AlertDeliveryRow,
    CustomMetricRow,
    CustomMetricRevisionRow,
    JudgeVerdictRow,
    JudgeCallRow,
    JudgeBudgetRow,
    JudgeSpendingRow,
    ReplyRow,
)
