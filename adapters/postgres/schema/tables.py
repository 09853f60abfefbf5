"""Tables that Piccolo queries, for plain reads of the management plane.

They list columns only; the schema is in the migrations. All other queries are SQL.
"""

from piccolo.columns import UUID, Array, Bytea, Integer, Text, Timestamptz
from piccolo.table import Table


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


class LoginCodeRow(Table, tablename="login_codes"):
    digest = Bytea(primary_key=True)
    organization_id = UUID()
    user_id = UUID()
    project = UUID()
    challenge = Text()
    label = Text()
    created_at = Timestamptz()
    expires_at = Timestamptz()
