"""The schema as Piccolo sees it: columns by name and kind.

Keys, indexes and checks are in the migrations, in SQL, and a test holds the two together.

Every tenant's table has its project (or organization) first in its key: isolation today, and the
column to distribute by tomorrow.
"""

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

from adapters.postgres.schema.evaluation_tables import EVALUATION
from adapters.postgres.schema.export_tables import EXPORTS
from adapters.postgres.schema.keeping_tables import KEEPING
from adapters.postgres.schema.price_tables import PRICES


class OrganizationRow(Table, tablename="organizations"):
    id = UUID(primary_key=True)
    name = Text()
    created_at = Timestamptz()


class ProjectRow(Table, tablename="projects"):
    id = UUID(primary_key=True)
    organization_id = UUID()
    name = Text()
    description = Text()
    created_at = Timestamptz()
    retention_days = Integer(null=True, default=None)


class UserRow(Table, tablename="users"):
    id = UUID(primary_key=True)
    issuer = Text()
    subject = Text()
    email = Text()
    display_name = Text()
    created_at = Timestamptz()
    last_sign_in_at = Timestamptz(null=True, default=None)


class MembershipRow(Table, tablename="memberships"):
    id = UUID(primary_key=True)
    organization_id = UUID()
    user_id = UUID()
    role = Text()
    created_at = Timestamptz()


class ApiKeyRow(Table, tablename="api_keys"):
    id = UUID(primary_key=True)
    organization_id = UUID()
    created_by = UUID(null=True, default=None)
    name = Text()
    prefix = Text()
    digest = Bytea()
    scopes = Array(base_column=Text())
    created_at = Timestamptz()
    expires_at = Timestamptz(null=True, default=None)
    revoked_at = Timestamptz(null=True, default=None)
    last_used_at = Timestamptz(null=True, default=None)


class InvitationRow(Table, tablename="invitations"):
    id = UUID(primary_key=True)
    organization_id = UUID()
    email = Text()
    role = Text()
    status = Text()
    invited_by = UUID()
    created_at = Timestamptz()
    expires_at = Timestamptz()


class LoginCodeRow(Table, tablename="login_codes"):
    digest = Bytea(primary_key=True)
    organization_id = UUID()
    user_id = UUID()
    project = UUID()
    challenge = Text()
    label = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz()


class AuditEntryRow(Table, tablename="audit_log"):
    id = UUID(primary_key=True)
    organization_id = UUID()
    at = Timestamptz()
    actor_user_id = UUID(null=True, default=None)
    actor_key_id = UUID(null=True, default=None)
    actor_name = Text()
    address = Text(null=True, default=None)
    agent = Text(null=True, default=None)
    action = Text()
    resource_id = Text()
    detail = JSON()


class ApiKeyOriginRow(Table, tablename="api_key_origins"):
    organization_id = UUID(primary_key=True)
    key_id = UUID()
    address = Text()
    agent = Text()


class RemovalRow(Table, tablename="removals"):
    project_id = UUID(primary_key=True)
    removed_at = Timestamptz()
    due_at = Timestamptz()


class WorkerRow(Table, tablename="workers"):
    id = UUID(primary_key=True)
    version = Text()
    started_at = Timestamptz()
    seen_at = Timestamptz()


class TraceRow(Table, tablename="traces"):
    project_id = UUID(primary_key=True)
    trace_id = UUID()
    name = Text()
    search_name = Text()
    status = Text()
    started_at = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)
    session_id = Text(null=True, default=None)
    user_id = Text(null=True, default=None)
    environment = Text(null=True, default=None)
    release = Text(null=True, default=None)
    tags = Array(base_column=Text())
    metadata = JSON()
    span_count = Integer()
    error_span_count = Integer()
    prompt_tokens = Numeric()
    completion_tokens = Numeric()
    total_cost = Numeric()
    created_at = Timestamptz()
    updated_at = Timestamptz()
    latency_us = BigInt(null=True, default=None)
    models = Array(base_column=Text())
    terms = Array(base_column=BigInt())


class TracePayloadRow(Table, tablename="trace_payloads"):
    project_id = UUID(primary_key=True)
    trace_id = UUID()
    input = JSON(null=True, default=None)
    output = JSON(null=True, default=None)


class SpanRow(Table, tablename="spans"):
    project_id = UUID(primary_key=True)
    trace_id = UUID()
    span_id = UUID()
    parent_span_id = UUID(null=True, default=None)
    name = Text()
    kind = Text()
    status = Text()
    started_at = Timestamptz()
    ended_at = Timestamptz(null=True, default=None)
    completion_start_time = Timestamptz(null=True, default=None)
    model = Text(null=True, default=None)
    prompt_tokens = BigInt()
    completion_tokens = BigInt()
    cost_amount = Numeric()
    cost_source = Text()
    error = Text(null=True, default=None)
    input = JSON(null=True, default=None)
    output = JSON(null=True, default=None)
    metadata = JSON()
    token_usage = JSON(null=True, default=None)
    model_parameters = JSON(null=True, default=None)
    cost = JSON(null=True, default=None)
    cache_read_tokens = BigInt(null=True, default=None)
    cache_write_tokens = BigInt(null=True, default=None)
    price_version = Text(null=True, default=None)
    price_since = Timestamptz(null=True, default=None)
    listed_amount = Numeric(null=True, default=None)


class TraceFacetRow(Table, tablename="trace_facets"):
    project_id = UUID(primary_key=True)
    kind = Text()
    value = Text()
    search_value = Text(null=True, default=None)
    trace_count = BigInt()


class TraceHourRow(Table, tablename="trace_hours"):
    project_id = UUID(primary_key=True)
    hour = Timestamptz()
    trace_count = BigInt()
    error_count = BigInt()
    latency_count = BigInt()
    latency_us = Numeric()
    revision = BigInt()


class TracePercentilesRow(Table, tablename="trace_percentiles"):
    project_id = UUID(primary_key=True)
    granularity = Text()
    bucket = Timestamptz()
    revision = BigInt()
    p50_us = DoublePrecision()
    p90_us = DoublePrecision()
    p99_us = DoublePrecision()


class UsageHourRow(Table, tablename="usage_hours"):
    project_id = UUID(primary_key=True)
    hour = Timestamptz()
    has_model = Boolean()
    model = Text()
    calls = BigInt()
    prompt_tokens = Numeric()
    completion_tokens = Numeric()
    cost = Numeric()


class SessionRow(Table, tablename="sessions"):
    project_id = UUID(primary_key=True)
    session_id = Text()
    trace_count = BigInt()
    first_started_at = Timestamptz()
    last_started_at = Timestamptz()
    last_ended_at = Timestamptz(null=True, default=None)
    last_activity_at = Timestamptz()
    latency_count = BigInt()
    latency_sum_us = Numeric()
    latency_us = Numeric(null=True, default=None)
    error_count = BigInt()
    user_id = Text(null=True, default=None)
    user_started_at = Timestamptz(null=True, default=None)
    user_trace_id = UUID(null=True, default=None)
    tags = Array(base_column=Text())
    span_count = BigInt()
    error_span_count = BigInt()
    prompt_tokens = Numeric()
    completion_tokens = Numeric()
    total_cost = Numeric()


class TraceUserRow(Table, tablename="trace_users"):
    project_id = UUID(primary_key=True)
    user_id = Text()
    trace_count = BigInt()
    error_count = BigInt()
    first_seen = Timestamptz()
    last_seen = Timestamptz()


ALL: Final = (
    OrganizationRow,
    ProjectRow,
    UserRow,
    MembershipRow,
    ApiKeyRow,
    InvitationRow,
    LoginCodeRow,
    AuditEntryRow,
    ApiKeyOriginRow,
    RemovalRow,
    WorkerRow,
    TraceRow,
    TracePayloadRow,
    SpanRow,
    TraceFacetRow,
    TraceHourRow,
    TracePercentilesRow,
    UsageHourRow,
    SessionRow,
    TraceUserRow,
    *PRICES,
    *EVALUATION,
    *EXPORTS,
    *KEEPING,
)
