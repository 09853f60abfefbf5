"""The whole schema, by feature. Columns that belong together share a line.

Text is `COLLATE "C"`: it sorts by code point, whatever the collation of the database. JSON is
`json` and not `jsonb`: it keeps every digit, every escape and the order of keys as they were sent.

Rows of a project have no foreign keys: each would cost every row a lookup. Rows of a trace are
written and deleted under the lock of the trace's row instead.

Every statement can run again: a process may be killed between the commit and Piccolo's record.

The scripts of SHARED run once, those of `group_scripts` once for each group (docs/adr/0058).
"""

from collections.abc import Sequence
from typing import Final

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from adapters.postgres.database.table_groups import TableGroup
from adapters.postgres.schema.sql_migration import SqlMigration

ID = "0001_initial"
VERSION = "1.38.0"  # of Piccolo, which asks for it
DESCRIPTION = "the whole schema"

IDENTITY: Final = """
-- The groups, each with tables of projects of its own: those of the first are in this schema.
CREATE TABLE IF NOT EXISTS table_groups (number integer PRIMARY KEY);
INSERT INTO table_groups (number) VALUES (1) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS organizations (
    id uuid PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    table_group integer NOT NULL DEFAULT 1,  -- which has the rows of its projects
    -- The group to which they are being moved, what is there already, and whether the move ends
    -- soon, so that nothing is read (docs/adr/0064).
    moving_to integer, moved_tables text[] NOT NULL DEFAULT '{}',
    is_move_ending boolean NOT NULL DEFAULT false,
    -- The budget of all its projects together, and what a new project starts with.
    monthly_usd numeric, project_monthly_usd numeric, project_retention_days integer,
    key_days integer,  -- after which its new keys expire
    public_links boolean NOT NULL DEFAULT false  -- whether its members may make them
);
CREATE INDEX IF NOT EXISTS organizations_group ON organizations (table_group);

CREATE TABLE IF NOT EXISTS users (
    id uuid PRIMARY KEY,
    issuer text COLLATE "C" NOT NULL, subject text COLLATE "C" NOT NULL,
    email text COLLATE "C" NOT NULL, display_name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, last_sign_in_at timestamptz,
    UNIQUE (issuer, subject)
);

CREATE TABLE IF NOT EXISTS memberships (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text COLLATE "C" NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
    created_at timestamptz NOT NULL,
    UNIQUE (organization_id, user_id)
);
-- The organizations of a user, oldest first. Every request with a token reads them.
CREATE INDEX IF NOT EXISTS memberships_user ON memberships (user_id, created_at, id);

-- Without `retention_days` traces are kept forever. Age counts from when a trace was first stored.
CREATE TABLE IF NOT EXISTS projects (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    retention_days integer,
    UNIQUE (organization_id, name)
);
CREATE INDEX IF NOT EXISTS projects_retention ON projects (id) WHERE retention_days IS NOT NULL;

-- Without `project_ids` and `networks` a key may be used in every project and from everywhere.
CREATE TABLE IF NOT EXISTS api_keys (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    created_by uuid REFERENCES users ON DELETE SET NULL,
    name text COLLATE "C" NOT NULL,
    prefix text COLLATE "C" NOT NULL, digest bytea NOT NULL UNIQUE, scopes text[] NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    project_ids uuid[], networks text[],
    newest_network text COLLATE "C", newest_network_at timestamptz
);
CREATE INDEX IF NOT EXISTS api_keys_organization ON api_keys (organization_id, created_at, id);
-- Deleting a membership revokes the keys that this user created.
CREATE INDEX IF NOT EXISTS api_keys_created_by
    ON api_keys (organization_id, created_by) WHERE revoked_at IS NULL;

-- The networks that a key was used from and that the audit log has an entry for. '' means unknown.
CREATE TABLE IF NOT EXISTS api_key_networks (
    organization_id uuid NOT NULL,
    key_id uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    network text COLLATE "C" NOT NULL,
    PRIMARY KEY (organization_id, key_id, network)
);
CREATE INDEX IF NOT EXISTS api_key_networks_key ON api_key_networks (key_id);

CREATE TABLE IF NOT EXISTS invitations (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    email text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
    status text COLLATE "C" NOT NULL
        CHECK (status IN ('PENDING', 'ACCEPTED', 'DECLINED', 'REVOKED')),
    invited_by uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS invitations_organization
    ON invitations (organization_id, created_at, id);
-- Unanswered invitations to an address, across organizations.
CREATE INDEX IF NOT EXISTS invitations_email
    ON invitations (email, created_at, id) WHERE status = 'PENDING';

CREATE TABLE IF NOT EXISTS login_codes (
    digest bytea PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    challenge text COLLATE "C" NOT NULL,
    label text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS login_codes_expiry ON login_codes (expires_at);

-- Sessions of browsers. Like users they belong to no organization. Only hashes of the cookie and of
-- the verifier are stored. `key_digest` finds the key in the cache of keys.
CREATE TABLE IF NOT EXISTS browser_sessions (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE, verifier_hash bytea NOT NULL,
    method text COLLATE "C" NOT NULL, purpose text COLLATE "C" NOT NULL,
    user_id uuid REFERENCES users ON DELETE CASCADE, verified_email text COLLATE "C",
    key_id uuid REFERENCES api_keys ON DELETE CASCADE, key_digest bytea,
    created_at timestamptz NOT NULL, last_used_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    address text COLLATE "C", agent text COLLATE "C",
    CHECK ((user_id IS NULL) <> (key_id IS NULL))
);
CREATE INDEX IF NOT EXISTS browser_sessions_user ON browser_sessions (user_id, created_at, id);
CREATE INDEX IF NOT EXISTS browser_sessions_key ON browser_sessions (key_id);
CREATE INDEX IF NOT EXISTS browser_sessions_end ON browser_sessions (ends_at);

-- Sign-ins with the identity provider that are under way: hashes, and where the browser goes next.
CREATE TABLE IF NOT EXISTS sign_in_attempts (
    digest bytea PRIMARY KEY, verifier_hash bytea NOT NULL,
    destination text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS sign_in_attempts_expiry ON sign_in_attempts (expires_at);

-- Tickets to download an export by a link. They end with the session or key that they stand for.
CREATE TABLE IF NOT EXISTS download_tickets (
    digest bytea PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    export_id uuid NOT NULL,
    user_id uuid REFERENCES users ON DELETE CASCADE,
    key_id uuid REFERENCES api_keys ON DELETE CASCADE,
    session_id uuid REFERENCES browser_sessions ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL,
    CHECK ((user_id IS NULL) <> (key_id IS NULL))
);
CREATE INDEX IF NOT EXISTS download_tickets_expiry ON download_tickets (expires_at);

-- Links to traces for readers without an account, by the hash of their token. Whatever deletes a
-- trace deletes its links.
CREATE TABLE IF NOT EXISTS trace_links (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
    trace_id uuid NOT NULL,
    is_masked boolean NOT NULL, has_scores boolean NOT NULL,
    created_by uuid REFERENCES users ON DELETE SET NULL, creator text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS trace_links_trace ON trace_links (project, trace_id);
CREATE INDEX IF NOT EXISTS trace_links_expiry ON trace_links (expires_at);

-- No reference to the organization: entries remain after it is deleted.
CREATE TABLE IF NOT EXISTS audit_log (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor_user_id uuid, actor_key_id uuid, actor_name text COLLATE "C" NOT NULL,
    address text COLLATE "C", agent text COLLATE "C",
    action text COLLATE "C" NOT NULL, resource_id text COLLATE "C" NOT NULL, detail json NOT NULL,
    sequence bigint, hash bytea
);
CREATE INDEX IF NOT EXISTS audit_log_organization ON audit_log (organization_id, at, id);
CREATE UNIQUE INDEX IF NOT EXISTS audit_log_sequence ON audit_log (organization_id, sequence);

-- The last entry of each organization's audit log: its number and its hash.
CREATE TABLE IF NOT EXISTS audit_chains (
    organization_id uuid PRIMARY KEY,
    sequence bigint NOT NULL, hash bytea NOT NULL
);

-- A field of the text that is hashed: its length in bytes and its value, or '-' for null.
CREATE OR REPLACE FUNCTION audit_field(value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(octet_length(convert_to(value, 'UTF8')) || ':' || value, '-') || ','
$$;
-- Numbers an entry and hashes it with the hash of the entry before it, as `chain_hash` of the
-- domain does. It runs when a transaction commits: the row of the chain is locked last and for a
-- moment, so that no other lock is waited for meanwhile, and numbers are in the order of commits.
CREATE OR REPLACE FUNCTION chain_audit_entry() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        chain audit_chains;
    BEGIN
        INSERT INTO audit_chains (organization_id, sequence, hash)
        VALUES (NEW.organization_id, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        SELECT * INTO chain FROM audit_chains
        WHERE organization_id = NEW.organization_id FOR UPDATE;
        chain.sequence := chain.sequence + 1;
        chain.hash := sha256(chain.hash || convert_to(concat(
            audit_field(chain.sequence::text), audit_field(NEW.id::text),
            audit_field(NEW.organization_id::text),
            audit_field(to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
            audit_field(NEW.actor_user_id::text), audit_field(NEW.actor_key_id::text),
            audit_field(NEW.actor_name), audit_field(NEW.address), audit_field(NEW.agent),
            audit_field(NEW.action), audit_field(NEW.resource_id),
            (SELECT string_agg(audit_field(key) || audit_field(value), '' ORDER BY key COLLATE "C")
             FROM json_each_text(NEW.detail))
        ), 'UTF8'));
        UPDATE audit_chains SET sequence = chain.sequence, hash = chain.hash
        WHERE organization_id = NEW.organization_id;
        UPDATE audit_log SET sequence = chain.sequence, hash = chain.hash WHERE id = NEW.id;
        RETURN NULL;
    END $$;
DROP TRIGGER IF EXISTS audit_log_chain ON audit_log;
CREATE CONSTRAINT TRIGGER audit_log_chain AFTER INSERT ON audit_log
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_audit_entry();

-- Refused requests by hour, address and credential. '' means unknown or, beyond a limit, others;
-- the organization of a credential that leads to none has only zeros.
CREATE TABLE IF NOT EXISTS access_refusals (
    organization_id uuid NOT NULL, hour timestamptz NOT NULL, status integer NOT NULL,
    address text COLLATE "C" NOT NULL, credential text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (organization_id, hour, status, address, credential)
);
CREATE INDEX IF NOT EXISTS access_refusals_age ON access_refusals (hour);
"""

REMOVALS: Final = """
-- Deleted projects that may still have rows in other tables. No read returns those rows.
-- If `is_moving`, the rows move to another group, or have moved there: they can be read, but no
-- longer be written. They are deleted from `due_at` on, and the objects that they name are kept.
CREATE TABLE IF NOT EXISTS removals (
    project_id uuid PRIMARY KEY,
    removed_at timestamptz NOT NULL, due_at timestamptz NOT NULL,
    is_moving boolean NOT NULL DEFAULT false
);
-- Of triggers on the tables that an organization leaves, while it moves. They are for what a
-- process began before it took notice. Workers may delete what has expired.
CREATE OR REPLACE FUNCTION refuse_while_moving() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'DELETE' OR current_setting('pandaprobe.scope', true) IS DISTINCT FROM 'all'
        THEN
            RAISE EXCEPTION 'rows of % move to another group of tables', TG_TABLE_NAME
                USING ERRCODE = 'lock_not_available';
        END IF;
        RETURN NULL;
    END $$;
"""

TRACES: Final = """
-- The columns that lists and analytics read, without payloads: a row has about 200 bytes. Every
-- write updates the counters. Sums of tokens are numeric: each count is below 2^53, but a sum may
-- exceed bigint.
-- Latency is in whole microseconds: sums are exact and can be subtracted.
-- Index-only scans need pages that vacuum has visited, also where rows are only inserted.
CREATE TABLE IF NOT EXISTS traces (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL, search_name text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'ERROR')),
    started_at timestamptz NOT NULL, ended_at timestamptz,
    session_id text COLLATE "C",
    user_id text COLLATE "C",
    environment text COLLATE "C", release text COLLATE "C",
    tags text[] NOT NULL,
    metadata json NOT NULL,
    span_count int NOT NULL, error_span_count int NOT NULL,
    prompt_tokens numeric NOT NULL, completion_tokens numeric NOT NULL, total_cost numeric NOT NULL,
    unpriced_span_count int NOT NULL, -- their cost is unknown and not in the total
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    repriced_at timestamptz, -- when costs last changed without a change of content
    latency_us bigint GENERATED ALWAYS AS
        (CASE WHEN ended_at >= started_at
         THEN (extract(epoch FROM ended_at - started_at) * 1000000)::bigint END) STORED,
    total_tokens numeric GENERATED ALWAYS AS (prompt_tokens + completion_tokens) STORED,
    models text[] NOT NULL,
    terms bigint[] NOT NULL,
    -- Of traces with OpenTelemetry fragments: when the last one was stored, whether the trace is
    -- over, whether it only creates agents, and what native reports have set.
    otlp_stored_at timestamptz,
    otlp_phase text COLLATE "C" CHECK (otlp_phase IN ('open', 'ended', 'settled')),
    otlp_is_setup boolean, otlp_detail json,
    PRIMARY KEY (project_id, trace_id)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- The list by start in either order; totals and percentiles of a period without reading the table.
CREATE INDEX IF NOT EXISTS traces_started
    ON traces (project_id, started_at, trace_id) INCLUDE (status, latency_us);
CREATE INDEX IF NOT EXISTS traces_session
    ON traces (project_id, session_id, started_at, trace_id) WHERE session_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS traces_user
    ON traces (project_id, user_id, started_at, trace_id) WHERE user_id IS NOT NULL;
-- The other orders of the list, and the bounds of latency, cost, tokens and spans.
CREATE INDEX IF NOT EXISTS traces_ended ON traces (project_id, ended_at, trace_id);
CREATE INDEX IF NOT EXISTS traces_latency ON traces (project_id, latency_us, trace_id);
CREATE INDEX IF NOT EXISTS traces_name ON traces (project_id, name, trace_id);
CREATE INDEX IF NOT EXISTS traces_cost ON traces (project_id, total_cost, trace_id);
CREATE INDEX IF NOT EXISTS traces_tokens ON traces (project_id, total_tokens, trace_id);
CREATE INDEX IF NOT EXISTS traces_spans ON traces (project_id, span_count, trace_id);
CREATE INDEX IF NOT EXISTS traces_status ON traces (project_id, status, trace_id);
-- The filters of dashboards, mostly together with a period.
CREATE INDEX IF NOT EXISTS traces_environment
    ON traces (project_id, environment, started_at, trace_id) WHERE environment IS NOT NULL;
CREATE INDEX IF NOT EXISTS traces_release
    ON traces (project_id, release, started_at, trace_id) WHERE release IS NOT NULL;
CREATE INDEX IF NOT EXISTS traces_failed
    ON traces (project_id, started_at, trace_id) WHERE status = 'ERROR' OR error_span_count > 0;
-- Tags, models and metadata: one entry for each, with the project in it. The pending list is kept
-- short because every search reads all of it.
CREATE INDEX IF NOT EXISTS traces_terms
    ON traces USING gin (terms) WITH (gin_pending_list_limit = 512);
-- Traces that were written recently, for monitors. One entry covers many pages: ingestion pays
-- nothing for it, and a row that is updated can stay on its page.
CREATE INDEX IF NOT EXISTS traces_updated
    ON traces USING brin (updated_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX IF NOT EXISTS traces_age ON traces (project_id, created_at, trace_id);
-- Across projects: traces that a worker settles if no fragment comes.
CREATE INDEX IF NOT EXISTS traces_open ON traces (otlp_stored_at, project_id, trace_id)
    WHERE otlp_phase = 'open';
-- Traces whose last fragment is recent, which runs and monitors leave out.
CREATE INDEX IF NOT EXISTS traces_quiet ON traces (project_id, otlp_stored_at, trace_id)
    WHERE otlp_phase = 'ended';

-- The values of a trace and its spans, as one text in compressed blocks (docs/adr/0043). `start` is
-- the place in it where a block begins, and `raw_bytes` how long its part of the text is. The block
-- at 0 also has the places of the payloads of the trace itself, and their previews for lists.
-- Later writes add blocks and set `written_at`; then a worker joins the blocks of the trace. First
-- writes set it if a long value may repeat those of other traces: then `texts` are the shared texts
-- to which the block refers (docs/adr/0070). If there is a store outside the database, every write
-- sets it, and the worker moves large blocks there: then `block` is empty, and `object_id` the last
-- part of the object's key (docs/adr/0046).
CREATE TABLE IF NOT EXISTS trace_payloads (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    start bigint NOT NULL, raw_bytes int NOT NULL, block bytea NOT NULL,
    object_id uuid,
    texts uuid[],
    written_at timestamptz,
    input_at bigint, input_bytes int, output_at bigint, output_bytes int,
    input_preview text COLLATE "C", output_preview text COLLATE "C",  -- one line
    PRIMARY KEY (project_id, trace_id, start)
);
ALTER TABLE trace_payloads ALTER COLUMN block SET STORAGE EXTERNAL;  -- it is compressed already
-- Across projects: traces whose blocks a worker may join. Most traces come in one write, and have
-- no entry.
CREATE INDEX IF NOT EXISTS trace_payloads_written ON trace_payloads (written_at)
    WHERE written_at IS NOT NULL;

-- Which long texts a trace has, as far as a worker has joined its blocks. A text of two traces is
-- stored in `shared_texts`, a frame of zstd. Texts that a trace has lost are in `released_texts`,
-- and so are new shared ones, until a worker has looked whether a trace has them (docs/adr/0070).
CREATE TABLE IF NOT EXISTS long_texts (
    project_id uuid NOT NULL, trace_id uuid NOT NULL, text_id uuid NOT NULL,
    PRIMARY KEY (project_id, trace_id, text_id)
);
-- The project is in the id. With it in a column, the planner may take the index for the key.
CREATE INDEX IF NOT EXISTS long_texts_traces ON long_texts (text_id);
CREATE TABLE IF NOT EXISTS shared_texts (
    project_id uuid NOT NULL, text_id uuid NOT NULL, frame bytea NOT NULL,
    PRIMARY KEY (project_id, text_id)
);
ALTER TABLE shared_texts ALTER COLUMN frame SET STORAGE EXTERNAL;  -- it is compressed already
CREATE TABLE IF NOT EXISTS released_texts (
    project_id uuid NOT NULL, id uuid NOT NULL DEFAULT gen_random_uuid(), text_id uuid NOT NULL,
    released_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id)
);
-- Across projects, for workers.
CREATE INDEX IF NOT EXISTS released_texts_age ON released_texts (released_at);

-- Objects whose block is gone, until they are deleted from the store. Whatever deletes or replaces
-- a block, the trigger adds its object in the same transaction.
CREATE TABLE IF NOT EXISTS removed_payload_objects (
    project_id uuid NOT NULL, trace_id uuid NOT NULL, object_id uuid NOT NULL,
    removed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, trace_id, object_id)
);
-- Across projects, for workers.
CREATE INDEX IF NOT EXISTS removed_payload_objects_age ON removed_payload_objects (removed_at);
CREATE OR REPLACE FUNCTION remove_payload_object() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO removed_payload_objects (project_id, trace_id, object_id)
        VALUES (OLD.project_id, OLD.trace_id, OLD.object_id) ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
DROP TRIGGER IF EXISTS trace_payloads_deleted ON trace_payloads;
CREATE TRIGGER trace_payloads_deleted AFTER DELETE ON trace_payloads
    FOR EACH ROW WHEN (OLD.object_id IS NOT NULL) EXECUTE FUNCTION remove_payload_object();
DROP TRIGGER IF EXISTS trace_payloads_replaced ON trace_payloads;
CREATE TRIGGER trace_payloads_replaced AFTER UPDATE OF object_id ON trace_payloads
    FOR EACH ROW WHEN (OLD.object_id IS NOT NULL AND OLD.object_id IS DISTINCT FROM NEW.object_id)
    EXECUTE FUNCTION remove_payload_object();

-- Read by trace, and by hour for usage and pricing. `listed_amount` is the cost by the price table
-- if a client reported another cost. A null count of cached or reasoning tokens means none.
-- Statements use the view `spans`, which shows the rows of the scope. A policy in its place would
-- forbid COPY. The serving role may only insert here (docs/adr/0036).
CREATE TABLE IF NOT EXISTS span_rows (
    project_id uuid NOT NULL, trace_id uuid NOT NULL, span_id uuid NOT NULL,
    parent_span_id uuid,
    name text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL, ended_at timestamptz, completion_start_time timestamptz,
    model text COLLATE "C",
    prompt_tokens bigint NOT NULL, completion_tokens bigint NOT NULL,
    cost_amount numeric NOT NULL, cost_source text COLLATE "C" NOT NULL,
    error text COLLATE "C",
    error_group text COLLATE "C",  -- of a failed span: the hash of the pattern of its message
    -- The place and the sizes of its values in the text of the trace, in this order.
    payload_at bigint, input_bytes int, output_bytes int, metadata_bytes int,
    token_usage_bytes int, model_parameters_bytes int,
    cost json,
    cache_read_tokens bigint, cache_write_tokens bigint, reasoning_tokens bigint,
    price_version text COLLATE "C", price_since timestamptz, listed_amount numeric,
    -- Of OpenTelemetry spans. Sums leave out the tokens and the cost of a span with a role.
    provider text COLLATE "C", request_model text COLLATE "C", usage_role text COLLATE "C",
    facts json,  -- what the trace is computed from, beyond these columns
    response_hash bigint GENERATED ALWAYS AS
        (hashtextextended(facts ->> 'response_id', 0)) STORED,
    PRIMARY KEY (project_id, trace_id, span_id)
);
-- The list of spans by start, and spans of partial hours, in which a period begins or ends.
CREATE INDEX IF NOT EXISTS spans_started ON span_rows (project_id, started_at);
-- Failed spans by start, with what figures by group of errors are made of, and those of a group.
-- There are few such spans.
CREATE INDEX IF NOT EXISTS spans_failed ON span_rows (project_id, started_at)
    INCLUDE (error_group, kind, ended_at, prompt_tokens, completion_tokens,
             cost_amount, cost_source, usage_role)
    WHERE status = 'ERROR';
CREATE INDEX IF NOT EXISTS spans_error_group ON span_rows (project_id, error_group, started_at)
    WHERE status = 'ERROR';
-- Models without a price. There are few such spans, and a request covers some days.
CREATE INDEX IF NOT EXISTS spans_unpriced
    ON span_rows (project_id, started_at) INCLUDE (model, prompt_tokens, completion_tokens)
    WHERE cost_source = 'unpriced' AND model <> '' AND prompt_tokens + completion_tokens > 0
      AND usage_role IS NULL;
-- Spans by the response of their model call, which evaluations may name. By its hash: under a
-- policy no index serves `->>`, and an entry takes half the bytes (docs/adr/0068).
CREATE INDEX IF NOT EXISTS spans_response ON span_rows (project_id, response_hash)
    WHERE response_hash IS NOT NULL;
-- Spans that repricing may change, in the order in which it reads them.
CREATE INDEX IF NOT EXISTS spans_priced ON span_rows (project_id, started_at, trace_id, span_id)
    WHERE model <> '' AND cost_source <> 'client' AND prompt_tokens + completion_tokens > 0
      AND usage_role IS NULL;
"""

SEARCH: Final = """
-- The index of words in traces (docs/adr/0045). Writes of traces add a row to the queue, which a
-- worker empties. A later row of a trace has a greater id, because writers lock the trace first.
CREATE TABLE IF NOT EXISTS search_queue (
    project_id uuid NOT NULL, id bigint GENERATED BY DEFAULT AS IDENTITY,
    trace_id uuid NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- One row for each trace that is in the index. Without a segment its terms are in a row of their
-- own, until SEGMENT_TRACES of the project become a segment. The segment is 0 if a trace has too
-- many terms for the index. A writer of both tables locks the row of this one first.
CREATE TABLE IF NOT EXISTS search_traces (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    queue_id bigint NOT NULL,  -- the last write that is in the index
    started_at timestamptz NOT NULL,
    segment bigint,
    PRIMARY KEY (project_id, trace_id)
);
CREATE INDEX IF NOT EXISTS search_traces_partial
    ON search_traces (project_id, started_at, trace_id) WHERE segment = 0;

CREATE TABLE IF NOT EXISTS search_terms (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    started_at timestamptz NOT NULL, terms bytea NOT NULL,
    PRIMARY KEY (project_id, trace_id)
);
ALTER TABLE search_terms ALTER COLUMN terms SET STORAGE EXTERNAL;  -- hashes can't be compressed

-- `traces` are ids and starts, in this order, of which a few bytes are read at a time.
CREATE TABLE IF NOT EXISTS search_segments (
    project_id uuid NOT NULL, segment bigint GENERATED BY DEFAULT AS IDENTITY,
    first_started_at timestamptz NOT NULL, last_started_at timestamptz NOT NULL,
    traces bytea NOT NULL,
    PRIMARY KEY (project_id, segment)
);
ALTER TABLE search_segments ALTER COLUMN traces SET STORAGE EXTERNAL;

-- The terms of a segment by the first bits of their hashes, each with the places of its traces. A
-- term of all segments is one range of the key.
CREATE TABLE IF NOT EXISTS search_postings (
    project_id uuid NOT NULL, bucket smallint NOT NULL, segment bigint NOT NULL,
    postings bytea NOT NULL,
    PRIMARY KEY (project_id, bucket, segment)
) WITH (toast_tuple_target = 8160);
ALTER TABLE search_postings ALTER COLUMN postings SET STORAGE EXTERNAL;

-- Traces that were deleted or indexed again since their segment was made. A worker removes them
-- from its postings.
CREATE TABLE IF NOT EXISTS search_garbage (
    project_id uuid NOT NULL, trace_id uuid NOT NULL, segment bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, trace_id, segment)
);
"""

FRAGMENTS: Final = """
-- OpenTelemetry spans and log records as they were sent. The row of a span is computed from its
-- fragments, and can be computed again by later rules. `span` has the 16 hex digits of its id, and
-- is '' for records that name only a trace. `is_waiting` if the span of a record isn't known yet.
-- Records that belong to other spans than they name have the `span` 'assigned', in `outline` what
-- decides, and in `assigned` the spans that take them.
-- Rows are written and deleted under the lock of the trace's row, but for waiting records.
-- Statements use the view `span_fragments`, as for spans.
CREATE TABLE IF NOT EXISTS span_fragment_rows (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    span text COLLATE "C" NOT NULL, digest bytea NOT NULL,
    rank smallint NOT NULL, is_waiting boolean NOT NULL,
    stored_at timestamptz NOT NULL,
    -- That of a span is in the text of its trace, whose values it repeats. A record has its own.
    data_at bigint, data_bytes int, data bytea,
    outline bytea, assigned uuid[],
    PRIMARY KEY (project_id, trace_id, span, digest),
    CHECK ((data IS NULL) = (data_at IS NOT NULL AND data_bytes IS NOT NULL))
);
-- Across projects: records whose span never comes.
CREATE INDEX IF NOT EXISTS span_fragments_waiting
    ON span_fragment_rows (stored_at, project_id, trace_id) WHERE is_waiting;

-- The last rejected spans and log records of each project, or several by `count`. Ids are hex, as
-- they were sent.
CREATE TABLE IF NOT EXISTS otlp_rejections (
    project_id uuid NOT NULL, id uuid NOT NULL,
    rejected_at timestamptz NOT NULL,
    signal text COLLATE "C" NOT NULL, reason text COLLATE "C" NOT NULL, message text NOT NULL,
    count bigint NOT NULL,
    scope text, service text, trace_id text COLLATE "C", span_id text COLLATE "C",
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS otlp_rejections_time ON otlp_rejections (project_id, rejected_at, id);
CREATE INDEX IF NOT EXISTS otlp_rejections_trace ON otlp_rejections (project_id, trace_id)
    WHERE trace_id IS NOT NULL;

-- Evaluations that came before their trace, or before the span with their response.
CREATE TABLE IF NOT EXISTS waiting_evaluations (
    project_id uuid NOT NULL, id uuid NOT NULL,
    trace_id uuid, response_id text COLLATE "C", data bytea NOT NULL,
    stored_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS waiting_evaluations_age
    ON waiting_evaluations (stored_at, project_id, id);
CREATE INDEX IF NOT EXISTS waiting_evaluations_trace ON waiting_evaluations (project_id, trace_id);
"""

# Every write of a trace updates these rows in place, so a part of each page stays free.
ROLLUPS: Final = """
-- The number of traces with a value, for totals of lists. `search_value` is case-folded, for
-- searches by part of a name or session id. Such a search reads the values of the project: an index
-- of substrings would cover all projects.
CREATE TABLE IF NOT EXISTS trace_facets (
    project_id uuid NOT NULL, kind text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL,
    search_value text COLLATE "C",
    trace_count bigint NOT NULL,
    PRIMARY KEY (project_id, kind, value)
) WITH (fillfactor = 50);

-- Traces by the hour of their start. Every write to an hour increments its revision. An hour
-- remains when its last trace is deleted, so that a revision is never repeated. `first_span_at` and
-- `last_span_at` bound the starts of spans that are in other hours than their trace; they only grow
-- apart.
CREATE TABLE IF NOT EXISTS trace_hours (
    project_id uuid NOT NULL, hour timestamptz NOT NULL,
    trace_count bigint NOT NULL, error_count bigint NOT NULL,
    latency_count bigint NOT NULL, latency_us numeric NOT NULL,
    first_span_at timestamptz, last_span_at timestamptz,
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (project_id, hour)
) WITH (fillfactor = 50);

-- Percentiles of a bucket, valid while the revisions of its hours add up to `revision`.
CREATE TABLE IF NOT EXISTS trace_percentiles (
    project_id uuid NOT NULL,
    -- By hour, day or week of UTC, or the length of a bucket in another time zone, such as '24h'.
    granularity text COLLATE "C" NOT NULL CHECK (granularity ~ '^(hour|day|week|[0-9]{1,3}h)$'),
    bucket timestamptz NOT NULL,
    revision bigint NOT NULL,
    p50_us float8 NOT NULL, p90_us float8 NOT NULL, p99_us float8 NOT NULL,
    PRIMARY KEY (project_id, granularity, bucket)
);

-- Spans by the hour of their start and by model. `has_model` distinguishes no model from ''. Spans
-- with a known cost are priced; spans that cost nothing by their nature are neither.
CREATE TABLE IF NOT EXISTS usage_hours (
    project_id uuid NOT NULL, hour timestamptz NOT NULL,
    has_model boolean NOT NULL, model text COLLATE "C" NOT NULL,
    calls bigint NOT NULL,
    prompt_tokens numeric NOT NULL, completion_tokens numeric NOT NULL, cost numeric NOT NULL,
    unpriced_span_count bigint NOT NULL, priced_span_count bigint NOT NULL,
    cached_tokens numeric NOT NULL, reasoning_tokens numeric NOT NULL,
    PRIMARY KEY (project_id, hour, has_model, model)
) WITH (fillfactor = 50);

-- Spans by the hour of their start, by kind, model, and name without ids. `latency_bins` has ten
-- digits for each bin of latencies, those of the first bin last: sums of it are sums of each bin.
-- Usage by hour and model is in a table of its own, since charts of a month read every hour.
-- No span of a row exceeds its greatest values, which never shrink: a list of spans skips hours.
CREATE TABLE IF NOT EXISTS span_hours (
    project_id uuid NOT NULL, hour timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
    has_model boolean NOT NULL, model text COLLATE "C" NOT NULL,
    span_count bigint NOT NULL, error_count bigint NOT NULL,
    latency_count bigint NOT NULL, latency_us numeric NOT NULL, latency_bins numeric NOT NULL,
    prompt_tokens numeric NOT NULL, completion_tokens numeric NOT NULL, cost numeric NOT NULL,
    unpriced_span_count bigint NOT NULL,
    max_latency_us bigint, max_tokens bigint, max_cost numeric,
    PRIMARY KEY (project_id, hour, kind, name, has_model, model)
) WITH (fillfactor = 50);

-- One row for each session, for every sort order. The user is that of the earliest trace with a
-- user; `user_started_at` and `user_trace_id` identify that trace. `previous_first_at` and
-- `previous_last_at` are the first and last start before the newest merge, null before the first
-- one: RETURNING knows no earlier values before PostgreSQL 18, and `session_hours` needs them.
CREATE TABLE IF NOT EXISTS sessions (
    project_id uuid NOT NULL, session_id text COLLATE "C" NOT NULL,
    trace_count bigint NOT NULL,
    first_started_at timestamptz NOT NULL, last_started_at timestamptz NOT NULL,
    last_ended_at timestamptz, last_activity_at timestamptz NOT NULL,
    latency_count bigint NOT NULL, latency_sum_us numeric NOT NULL,
    latency_us numeric GENERATED ALWAYS AS
        (CASE WHEN latency_count > 0 THEN latency_sum_us END) STORED,
    error_count bigint NOT NULL,
    user_id text COLLATE "C", user_started_at timestamptz, user_trace_id uuid,
    tags text[] NOT NULL,
    span_count bigint NOT NULL, error_span_count bigint NOT NULL,
    prompt_tokens numeric NOT NULL, completion_tokens numeric NOT NULL, total_cost numeric NOT NULL,
    unpriced_span_count bigint NOT NULL,
    previous_first_at timestamptz, previous_last_at timestamptz,
    PRIMARY KEY (project_id, session_id)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS sessions_recent ON sessions (project_id, last_activity_at, session_id);
CREATE INDEX IF NOT EXISTS sessions_traces ON sessions (project_id, trace_count, session_id);
CREATE INDEX IF NOT EXISTS sessions_latency ON sessions (project_id, latency_us, session_id);
CREATE INDEX IF NOT EXISTS sessions_cost ON sessions (project_id, total_cost, session_id);
CREATE INDEX IF NOT EXISTS sessions_failed
    ON sessions (project_id, last_activity_at, session_id) WHERE error_count > 0;
-- Sessions that lie wholly within a period: their rows replace reading their traces.
CREATE INDEX IF NOT EXISTS sessions_span
    ON sessions (project_id, first_started_at, last_started_at) INCLUDE (trace_count, latency_us);

-- Sessions by the hours of the first and of the last start of their traces (docs/adr/0061).
-- `failed_count` are those with a failed trace, `latency_count` those with an ended one.
CREATE TABLE IF NOT EXISTS session_hours (
    project_id uuid NOT NULL, first_hour timestamptz NOT NULL, last_hour timestamptz NOT NULL,
    session_count bigint NOT NULL, failed_count bigint NOT NULL, trace_count bigint NOT NULL,
    latency_count bigint NOT NULL, latency_us numeric NOT NULL,
    PRIMARY KEY (project_id, first_hour, last_hour)
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS trace_users (
    project_id uuid NOT NULL, user_id text COLLATE "C" NOT NULL,
    trace_count bigint NOT NULL, error_count bigint NOT NULL,
    first_seen timestamptz NOT NULL, last_seen timestamptz NOT NULL,
    PRIMARY KEY (project_id, user_id)
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS trace_users_seen ON trace_users (project_id, last_seen, user_id);
"""

# `number`, `judge_kind`, `fingerprint`, `evidence_hash`, `code`, `threshold` and `original` follow
# from value and metadata. As columns they can be averaged, compared and searched.
_SCORE_COLUMNS: Final = """
    name text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('pending', 'scored', 'failed', 'skipped')),
    value text COLLATE "C", number double precision,
    data_type text COLLATE "C" NOT NULL CHECK (data_type IN ('NUMERIC', 'BOOLEAN', 'CATEGORICAL')),
    source text COLLATE "C" NOT NULL CHECK (source IN ('AUTOMATED', 'ANNOTATION', 'PROGRAMMATIC')),
    run_id uuid, author_id uuid,
    reason text COLLATE "C", metadata json NOT NULL,
    judge_kind text COLLATE "C", fingerprint text COLLATE "C", code text COLLATE "C",
    threshold double precision,
    original double precision, -- the number that a run measured, if a person corrected it
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    history json NOT NULL DEFAULT '[]', -- the score before each change
"""
# As for traces. Rows of scores are updated too.
_SCORE_STORAGE: Final = """
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_analyze_scale_factor = 0.05
"""


def _score_list_indexes(table: str, filters: str, suffix: str = "", where: str = "true") -> str:
    """Indexes of a list of scores, and of their figures: of all in a table, or those `where`.

    They include the columns by which lists are narrowed (`filters`): totals are counted without
    reading a row.
    """
    return f"""
CREATE INDEX IF NOT EXISTS {table}_created{suffix} ON {table} (project_id, created_at, id)
    INCLUDE ({filters}) WHERE {where};
-- A summary reads the whole index; a trend or a distribution reads one name.
CREATE INDEX IF NOT EXISTS {table}_name{suffix} ON {table} (project_id, name, created_at, id)
    INCLUDE (number, judge_kind, threshold, fingerprint, {filters}) WHERE {where};
"""


def _score_indexes(table: str, target_columns: str) -> str:
    """`target_columns` are the columns that identify a target."""
    return f"""
-- The latest score of each name, the history of a session, and signals that can be reused.
CREATE INDEX IF NOT EXISTS {table}_target
    ON {table} (project_id, {target_columns}, name, created_at, id);
CREATE INDEX IF NOT EXISTS {table}_run ON {table} (project_id, run_id, created_at, id)
    WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS {table}_pending ON {table} (project_id, run_id)
    WHERE outcome = 'pending';
"""


# `moving.py` sets it while it copies rows from one group of tables to another.
_IS_MOVING_ROWS: Final = "(current_setting('pandaprobe.keeps_ids', true) IS NOT DISTINCT FROM 'on')"


def _change_trigger(table: str, target: str) -> str:
    """Notes the days that are over to which scores are written: see `changed_score_days`.

    The condition is evaluated without a call. The clock is read when the row is written, so that
    a transaction that doesn't note today had an id before today was over. Rows that move with an
    organization were noted when they were written, and what was noted moves as well.
    """

    def note(row: str) -> str:
        # Citus takes no INSERT of a SELECT without FROM that calls a function.
        return f"""
        IF NOT EXISTS (SELECT 1 FROM removals AS r WHERE r.project_id = {row}.project_id) THEN
          INSERT INTO changed_score_days (project_id, target, day, xid)
          VALUES ({row}.project_id, {target.format(row=row)},
                  ({row}.created_at AT TIME ZONE 'UTC')::date, pg_current_xact_id())
          ON CONFLICT DO NOTHING;
        END IF;
        """

    today = "date_trunc('day', clock_timestamp(), 'UTC')"
    events = {
        "INSERT": f"NEW.created_at < {today} AND NOT {_IS_MOVING_ROWS}",
        "UPDATE": f"least(OLD.created_at, NEW.created_at) < {today}",
        "DELETE": f"OLD.created_at < {today}",
    }
    return f"""
CREATE OR REPLACE FUNCTION note_changed_{table}() RETURNS trigger LANGUAGE plpgsql
SET search_path FROM CURRENT AS $$
    BEGIN
        IF TG_OP <> 'INSERT' THEN {note("OLD")} END IF;
        IF TG_OP <> 'DELETE' THEN {note("NEW")} END IF;
        RETURN NULL;
    END $$;
""" + "".join(
        f"""
DROP TRIGGER IF EXISTS {table}_{event.lower()} ON {table};
CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table}
    FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION note_changed_{table}();
"""
        for event, condition in events.items()
    )


def _keep_latest_trace_scores() -> str:
    """Keeps `latest_trace_scores`, whatever writes or deletes scores of traces.

    Writers of a row wait for each other; each statement of the functions sees what was committed
    before it. The triggers run once for each statement, and write the rows in the order of their
    key, so that statements which store the same scores in different orders don't deadlock.
    """
    known = "project_id, trace_id, name, source, id, created_at, outcome, number"
    is_counted = "NOT is_of_span AND outcome <> 'pending'"
    same_score = "project_id = one.project_id AND trace_id = one.trace_id AND name = one.name"
    in_order = "ORDER BY project_id, trace_id, name, source = 'AUTOMATED', id"

    def select(rows: str, other: str = "") -> str:
        """The scores of a transition table that count, and aren't the same in the other one."""
        found = f"SELECT {known} FROM {rows} WHERE {is_counted}"
        return f"{found} EXCEPT SELECT {known} FROM {other}" if other else found

    def upsert(score: str) -> str:
        return f"""
            INSERT INTO latest_trace_scores AS latest
              (project_id, trace_id, name, is_automated, score_id, created_at, outcome, number)
            VALUES (one.project_id, one.trace_id, one.name, one.source = 'AUTOMATED',
                    {score}.id, {score}.created_at, {score}.outcome, {score}.number)
            ON CONFLICT (project_id, trace_id, name, is_automated) DO UPDATE
            SET score_id = excluded.score_id, created_at = excluded.created_at,
                outcome = excluded.outcome, number = excluded.number
            WHERE (excluded.created_at, excluded.score_id) >= (latest.created_at, latest.score_id);
        """

    # One by one: on Citus a statement for these tables can't read a transition table.
    def insert(scores: str) -> str:
        return f"""
        FOR one IN SELECT * FROM ({scores}) AS scores {in_order} LOOP
            {upsert("one")}
        END LOOP;
        """

    def remove(scores: str) -> str:
        return f"""
        FOR one IN SELECT * FROM ({scores}) AS scores {in_order} LOOP
            CONTINUE WHEN EXISTS (
              SELECT 1 FROM removals AS r WHERE r.project_id = one.project_id
            );
            PERFORM 1 FROM latest_trace_scores WHERE {same_score} ORDER BY is_automated FOR UPDATE;
            DELETE FROM latest_trace_scores WHERE {same_score} AND score_id = one.id;
            IF FOUND THEN
                SELECT id, created_at, outcome, number INTO newest FROM trace_scores
                WHERE {same_score} AND {is_counted}
                  AND (source = 'AUTOMATED') = (one.source = 'AUTOMATED')
                ORDER BY created_at DESC, id DESC LIMIT 1;
                IF FOUND THEN {upsert("newest")} END IF;
            END IF;
        END LOOP;
        """

    # The newest of moved scores move as well. In one statement for a million of them, each of these
    # would leave some kilobytes on a worker of Citus until its end.
    unless_moving = f"IF {_IS_MOVING_ROWS} THEN RETURN NULL; END IF;"
    steps = {
        "INSERT": ("NEW TABLE AS written", unless_moving + insert(select("written"))),
        "UPDATE": (
            "OLD TABLE AS replaced NEW TABLE AS written",
            remove(select("replaced", "written")) + insert(select("written", "replaced")),
        ),
        "DELETE": ("OLD TABLE AS replaced", remove(select("replaced"))),
    }
    return "".join(
        f"""
CREATE OR REPLACE FUNCTION keep_latest_trace_scores_{event.lower()}() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    DECLARE
        one record;
        newest record;
    BEGIN
        {body}
        RETURN NULL;
    END $$;
DROP TRIGGER IF EXISTS latest_trace_scores_{event.lower()} ON trace_scores;
CREATE TRIGGER latest_trace_scores_{event.lower()} AFTER {event} ON trace_scores
    REFERENCING {tables}
    FOR EACH STATEMENT EXECUTE FUNCTION keep_latest_trace_scores_{event.lower()}();
"""
        for event, (tables, body) in steps.items()
    )


_TRACE_SCORE_FILTERS: Final = "outcome, source, data_type, environment"
SCORES: Final = f"""
-- Scores of traces, and of spans if `span_id` is set. Runs score no spans.
CREATE TABLE IF NOT EXISTS trace_scores (
    project_id uuid NOT NULL, id uuid NOT NULL,
    trace_id uuid NOT NULL,
    span_id uuid,
    -- Not IS NULL: after a condition on a boolean, an index keeps the order of the next columns.
    is_of_span boolean GENERATED ALWAYS AS (span_id IS NOT NULL) STORED,
    environment text COLLATE "C",
    evidence_hash text COLLATE "C",
    {_SCORE_COLUMNS}
    PRIMARY KEY (project_id, id),
    CHECK ((value IS NOT NULL) = (outcome = 'scored')),
    CHECK (span_id IS NULL OR run_id IS NULL)
) WITH ({_SCORE_STORAGE});
{_score_list_indexes("trace_scores", _TRACE_SCORE_FILTERS, where="NOT is_of_span")}
{_score_list_indexes("trace_scores", _TRACE_SCORE_FILTERS, "_of_spans", "is_of_span")}
{_score_indexes("trace_scores", "trace_id, is_of_span")}
-- Human labels by name: judges are compared with them.
CREATE INDEX IF NOT EXISTS trace_scores_said ON trace_scores (project_id, name, created_at, id)
    WHERE source = 'ANNOTATION' AND NOT is_of_span;
CREATE INDEX IF NOT EXISTS trace_scores_span
    ON trace_scores (project_id, span_id, trace_id, name, created_at, id)
    WHERE span_id IS NOT NULL;

-- The newest score of each trace and name: that of runs, and that of all others. Pending ones don't
-- count (`latest_by_name` of the domain). Filters of traces by scores read it (docs/adr/0062).
CREATE TABLE IF NOT EXISTS latest_trace_scores (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL, is_automated boolean NOT NULL,
    score_id uuid NOT NULL, created_at timestamptz NOT NULL,
    outcome text COLLATE "C" NOT NULL, number double precision,
    PRIMARY KEY (project_id, trace_id, name, is_automated)
) WITH ({_SCORE_STORAGE});
CREATE INDEX IF NOT EXISTS latest_trace_scores_number
    ON latest_trace_scores (project_id, name, outcome, number, trace_id);
{_keep_latest_trace_scores()}

CREATE TABLE IF NOT EXISTS session_scores (
    project_id uuid NOT NULL, id uuid NOT NULL,
    session_id text COLLATE "C" NOT NULL,
    {_SCORE_COLUMNS}
    PRIMARY KEY (project_id, id),
    CHECK ((value IS NOT NULL) = (outcome = 'scored'))
) WITH ({_SCORE_STORAGE});
{_score_list_indexes("session_scores", "outcome, source, data_type")}
{_score_indexes("session_scores", "session_id")}
-- Sessions ranked by their newest number: the last entry of each session.
CREATE INDEX IF NOT EXISTS session_scores_ranked
    ON session_scores (project_id, name, session_id, created_at, id)
    INCLUDE (number, run_id, source)
    WHERE number IS NOT NULL;

-- Scores by day of UTC and by how they were made (docs/adr/0056). The days before `until` are
-- counted, but for the changed ones: writes to a day that is over add a row for themselves.
CREATE TABLE IF NOT EXISTS score_rollups (
    project_id uuid NOT NULL, target text COLLATE "C" NOT NULL,
    until date NOT NULL,
    PRIMARY KEY (project_id, target)
);
CREATE TABLE IF NOT EXISTS changed_score_days (
    project_id uuid NOT NULL, target text COLLATE "C" NOT NULL, day date NOT NULL,
    xid xid8 NOT NULL,
    PRIMARY KEY (project_id, target, day, xid)
);
-- `number_parts` are the counts of the hundredths of [0, 1], ten digits each.
CREATE TABLE IF NOT EXISTS score_days (
    project_id uuid NOT NULL, target text COLLATE "C" NOT NULL, day date NOT NULL,
    name text COLLATE "C" NOT NULL, place integer NOT NULL,
    source text COLLATE "C" NOT NULL, judge_kind text COLLATE "C", fingerprint text COLLATE "C",
    threshold double precision, outcome text COLLATE "C" NOT NULL,
    score_count bigint NOT NULL, number_count bigint NOT NULL,
    number_sum double precision NOT NULL,
    minimum double precision, maximum double precision, passed_count bigint NOT NULL,
    latest_at timestamptz NOT NULL, newest_number_at timestamptz,
    number_parts numeric NOT NULL,
    PRIMARY KEY (project_id, target, day, name, place)
);
-- The different numbers of a hundredth, and how many scores have each: for percentiles.
CREATE TABLE IF NOT EXISTS score_day_numbers (
    project_id uuid NOT NULL, target text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL,
    part smallint NOT NULL, day date NOT NULL, place integer NOT NULL,
    source text COLLATE "C" NOT NULL, judge_kind text COLLATE "C",
    numbers double precision[] NOT NULL, counts bigint[] NOT NULL,
    PRIMARY KEY (project_id, target, name, part, day, place)
);
CREATE INDEX IF NOT EXISTS score_day_numbers_day ON score_day_numbers (project_id, target, day);
{_change_trigger("trace_scores", "CASE WHEN {row}.span_id IS NULL THEN 'trace' ELSE 'span' END")}
{_change_trigger("session_scores", "'session'")}

-- Who labels which trace of an annotation queue, until `expires_at`.
CREATE TABLE IF NOT EXISTS annotation_claims (
    project_id uuid NOT NULL, name text COLLATE "C" NOT NULL, trace_id uuid NOT NULL,
    holder text COLLATE "C" NOT NULL,
    why text COLLATE "C" NOT NULL, place integer NOT NULL,
    claimed_at timestamptz NOT NULL, expires_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name, trace_id)
);
CREATE INDEX IF NOT EXISTS annotation_claims_trace ON annotation_claims (project_id, trace_id);
CREATE INDEX IF NOT EXISTS annotation_claims_live ON annotation_claims (project_id, expires_at);
-- Across projects, to delete expired claims.
CREATE INDEX IF NOT EXISTS annotation_claims_age ON annotation_claims (expires_at);
"""

RUNS: Final = """
-- The counts, and `codes`, which are the failures by code, are set once the run has ended, or once
-- `cancelled_at` is set and it is about to end. Until then they are counted from its targets.
CREATE TABLE IF NOT EXISTS eval_runs (
    project_id uuid NOT NULL, id uuid NOT NULL,
    target_type text COLLATE "C" NOT NULL CHECK (target_type IN ('TRACE', 'SESSION')),
    name text COLLATE "C",
    metrics text[] COLLATE "C" NOT NULL,
    targets integer NOT NULL,
    filters json NOT NULL, sampling_rate double precision NOT NULL,
    settled_only boolean NOT NULL DEFAULT false,
    model text COLLATE "C" NOT NULL, signal_weights json NOT NULL,
    monitor_id uuid,
    status text COLLATE "C" NOT NULL
        CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'CANCELLED')),
    error_message text COLLATE "C",
    created_at timestamptz NOT NULL, completed_at timestamptz,
    evaluated_count integer, scored_count integer, failed_count integer, skipped_count integer,
    codes json,
    cancelled_at timestamptz, announced_at timestamptz, assessed_at timestamptz,
    votes integer NOT NULL DEFAULT 1, max_cost_usd numeric,
    definitions json NOT NULL DEFAULT '[]',
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS eval_runs_created ON eval_runs (project_id, target_type, created_at, id);
CREATE INDEX IF NOT EXISTS eval_runs_monitor
    ON eval_runs (project_id, monitor_id, created_at, id) WHERE monitor_id IS NOT NULL;
-- Running runs, of one project and of all: one of them gets the next target dispatched.
CREATE INDEX IF NOT EXISTS eval_runs_running ON eval_runs (project_id, created_at, id)
    WHERE status = 'RUNNING';
-- Across projects: runs that workers have to plan or cancel, until they have finished.
CREATE INDEX IF NOT EXISTS eval_runs_announced ON eval_runs (announced_at)
    WHERE announced_at IS NOT NULL;
-- Alerts assess each run of a monitor once, after it has ended, unless it was cancelled.
CREATE INDEX IF NOT EXISTS eval_runs_unassessed ON eval_runs (completed_at, project_id, id)
    WHERE monitor_id IS NOT NULL AND assessed_at IS NULL AND status IN ('COMPLETED', 'FAILED');

-- `metrics` is set if they differ from those of the run. The counts are set when the target is
-- finished, with the code of each failure: the figures of a run cost one row for each target.
CREATE TABLE IF NOT EXISTS eval_jobs (
    project_id uuid NOT NULL, run_id uuid NOT NULL, target text COLLATE "C" NOT NULL,
    place integer NOT NULL,
    metrics text[] COLLATE "C",
    state text COLLATE "C" NOT NULL
        CHECK (state IN ('unplanned', 'waiting', 'queued', 'running', 'done', 'dead')),
    attempts integer NOT NULL, run_after timestamptz NOT NULL, due_at timestamptz,
    last_code text COLLATE "C",
    scored integer, failed integer, skipped integer,
    codes text[] COLLATE "C",
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, run_id, target)
);
CREATE INDEX IF NOT EXISTS eval_jobs_open ON eval_jobs (project_id, run_id, state, place)
    WHERE state IN ('unplanned', 'waiting', 'queued', 'running');
-- Targets of one run that are queued or running: few among many.
CREATE INDEX IF NOT EXISTS eval_jobs_in_flight ON eval_jobs (project_id, run_id)
    WHERE due_at IS NOT NULL;
-- Across projects: leases that expire, and messages that count as lost.
CREATE INDEX IF NOT EXISTS eval_jobs_due ON eval_jobs (due_at) WHERE due_at IS NOT NULL;
-- Dead targets, which are few. They are counted across projects.
CREATE INDEX IF NOT EXISTS eval_jobs_dead ON eval_jobs (project_id, run_id, target)
    WHERE state = 'dead';

-- Idempotency keys. `status` and `body` are set when the write is done; until then the row holds
-- the key for the request that is being served. `target` is the trace or session in the request:
-- the response may quote it. `erased_at` is when the target, or other data of the project, was
-- erased: from then on no response is stored in the row.
CREATE TABLE IF NOT EXISTS replies (
    project_id uuid NOT NULL, operation text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
    request_hash bytea NOT NULL, object_id uuid NOT NULL,
    target text COLLATE "C",
    status integer, body bytea,
    held_until timestamptz NOT NULL, expires_at timestamptz NOT NULL,
    begun_at timestamptz NOT NULL, erased_at timestamptz, has_text boolean NOT NULL,
    PRIMARY KEY (project_id, operation, key),
    CHECK (erased_at IS NULL OR (status IS NULL AND body IS NULL))
);
-- Deleting a trace or a session deletes the responses that may quote it.
CREATE INDEX IF NOT EXISTS replies_target ON replies (project_id, target) WHERE target IS NOT NULL;
CREATE INDEX IF NOT EXISTS replies_expiry ON replies (expires_at);
"""

SHARED_SPENDING: Final = """
-- What a month has spent or reserved over all projects of an organization, or of the server. It
-- stays when a project is deleted.
CREATE TABLE IF NOT EXISTS shared_spending (
    scope text COLLATE "C" PRIMARY KEY, usd numeric NOT NULL, created_at timestamptz NOT NULL
);
"""

JUDGE_COSTS: Final = """
-- Reasons quote a trace: with `trace_id` a verdict is deleted together with its trace.
CREATE TABLE IF NOT EXISTS judge_verdicts (
    project_id uuid NOT NULL, key bytea NOT NULL,
    outcome json NOT NULL, usage json NOT NULL,
    model text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    trace_id uuid,
    PRIMARY KEY (project_id, key)
);
CREATE INDEX IF NOT EXISTS judge_verdicts_age ON judge_verdicts (created_at);
CREATE INDEX IF NOT EXISTS judge_verdicts_trace ON judge_verdicts (project_id, trace_id);

CREATE TABLE IF NOT EXISTS judge_calls (
    project_id uuid NOT NULL, id uuid NOT NULL,
    run_id uuid,
    target text COLLATE "C" NOT NULL, metric text COLLATE "C" NOT NULL, attempt integer NOT NULL,
    provider text COLLATE "C" NOT NULL, model text COLLATE "C" NOT NULL,
    input_tokens bigint NOT NULL,
    cache_read_tokens bigint NOT NULL, cache_write_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL, reasoning_tokens bigint NOT NULL,
    usd numeric, price_version text COLLATE "C",
    latency_ms double precision NOT NULL, code text COLLATE "C",
    estimated boolean NOT NULL, -- the tokens, because the provider's count was impossible
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS judge_calls_created ON judge_calls (project_id, created_at);
CREATE INDEX IF NOT EXISTS judge_calls_run ON judge_calls (project_id, run_id)
    WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS judge_calls_age ON judge_calls (created_at);
-- An erasure removes the id of a session from the ledger. The target comes first, so that the
-- planner uses project and time for the sums of a month, whatever the statistics say.
CREATE INDEX IF NOT EXISTS judge_calls_target ON judge_calls (target, project_id);

CREATE TABLE IF NOT EXISTS judge_budgets (
    project_id uuid NOT NULL,
    monthly_usd numeric NOT NULL, updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id)
);

-- The amount that a month or a run has spent or reserved. Only scopes with a budget have a row.
CREATE TABLE IF NOT EXISTS judge_spending (
    project_id uuid NOT NULL, scope text COLLATE "C" NOT NULL,
    usd numeric NOT NULL, created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, scope)
);
"""

CUSTOM_METRICS: Final = """
CREATE TABLE IF NOT EXISTS custom_metrics (
    project_id uuid NOT NULL, name text COLLATE "C" NOT NULL, id uuid NOT NULL,
    revision integer NOT NULL, archived_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name)
);

-- `body` keeps the bytes that were received: fingerprints are computed over them.
CREATE TABLE IF NOT EXISTS custom_metric_revisions (
    project_id uuid NOT NULL, name text COLLATE "C" NOT NULL, revision integer NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('judge', 'rule', 'measured')),
    description text COLLATE "C" NOT NULL, threshold double precision NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name, revision)
);
"""

DATASETS: Final = """
-- `number` is that of the newest version.
CREATE TABLE IF NOT EXISTS datasets (
    project_id uuid NOT NULL, name text COLLATE "C" NOT NULL, id uuid NOT NULL,
    description text COLLATE "C" NOT NULL,
    number integer NOT NULL, revisions integer NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, name),
    UNIQUE (project_id, id)
);

CREATE TABLE IF NOT EXISTS dataset_versions (
    project_id uuid NOT NULL, dataset_id uuid NOT NULL, number integer NOT NULL,
    digest bytea NOT NULL, items integer NOT NULL, erased integer NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, dataset_id, number)
);
CREATE INDEX IF NOT EXISTS dataset_versions_digest
    ON dataset_versions (project_id, dataset_id, digest, number);

-- A row is an item from the version `valid_from` on, up to and without the version `valid_to`: it
-- is null in the newest version. An erasure follows `trace_id`, and the user and the session of the
-- trace. What the trace had not named when it was copied is added when the trace is deleted.
CREATE TABLE IF NOT EXISTS dataset_items (
    project_id uuid NOT NULL, dataset_id uuid NOT NULL, item_id text COLLATE "C" NOT NULL,
    valid_from integer NOT NULL, valid_to integer,
    digest bytea NOT NULL, split text COLLATE "C",
    input json NOT NULL, expected json, metadata json NOT NULL,
    trace_id uuid, user_id text COLLATE "C", session_id text COLLATE "C",
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, dataset_id, item_id, valid_from),
    CHECK (valid_to IS NULL OR valid_to > valid_from)
);
CREATE INDEX IF NOT EXISTS dataset_items_newest ON dataset_items (project_id, dataset_id, item_id)
    WHERE valid_to IS NULL;
CREATE INDEX IF NOT EXISTS dataset_items_trace ON dataset_items (project_id, trace_id)
    WHERE trace_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS dataset_items_user ON dataset_items (project_id, user_id)
    WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS dataset_items_session ON dataset_items (project_id, session_id)
    WHERE session_id IS NOT NULL;
"""

EXPERIMENTS: Final = """
-- `run_id` is set once the experiment is closed.
CREATE TABLE IF NOT EXISTS experiments (
    project_id uuid NOT NULL, id uuid NOT NULL,
    name text COLLATE "C",
    dataset_id uuid NOT NULL, dataset text COLLATE "C" NOT NULL, version integer NOT NULL,
    split text COLLATE "C", items integer NOT NULL, repetitions integer NOT NULL,
    release text COLLATE "C",
    git_sha text COLLATE "C", git_branch text COLLATE "C", pull_request text COLLATE "C",
    metrics text[] COLLATE "C" NOT NULL,
    model text COLLATE "C", votes integer NOT NULL, max_cost_usd numeric,
    run_id uuid,
    created_at timestamptz NOT NULL, closed_at timestamptz,
    noise_floor json, -- by metric: the drop that it showed against itself, and fingerprints
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS experiments_created ON experiments (project_id, created_at, id);
CREATE INDEX IF NOT EXISTS experiments_dataset
    ON experiments (project_id, dataset, created_at, id);
CREATE INDEX IF NOT EXISTS experiments_version ON experiments (project_id, dataset_id);

-- A trace is the result of one case: what is expected of it is found by its id.
CREATE TABLE IF NOT EXISTS experiment_results (
    project_id uuid NOT NULL, experiment_id uuid NOT NULL,
    item_id text COLLATE "C" NOT NULL, repetition integer NOT NULL,
    trace_id uuid NOT NULL,
    PRIMARY KEY (project_id, experiment_id, item_id, repetition),
    UNIQUE (project_id, trace_id)
);
"""

MONITORS: Final = """
-- `selection` has each date as it was given, and its instant.
CREATE TABLE IF NOT EXISTS monitors (
    project_id uuid NOT NULL, id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    target_type text COLLATE "C" NOT NULL CHECK (target_type IN ('TRACE', 'SESSION')),
    metrics text[] COLLATE "C" NOT NULL,
    selection json NOT NULL, signal_weights json NOT NULL, sampling_rate double precision NOT NULL,
    model text COLLATE "C",
    cadence text COLLATE "C" NOT NULL, only_if_changed boolean NOT NULL,
    settled_only boolean NOT NULL DEFAULT true,
    status text COLLATE "C" NOT NULL CHECK (status IN ('ACTIVE', 'PAUSED')),
    last_run_at timestamptz, last_run_id uuid, next_run_at timestamptz,
    empty_slots integer NOT NULL DEFAULT 0,
    looked_at timestamptz, looked_at_trace uuid,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    votes integer NOT NULL DEFAULT 1, max_cost_usd numeric,
    PRIMARY KEY (project_id, id),
    CHECK (status = 'PAUSED' OR next_run_at IS NOT NULL),
    CHECK ((looked_at IS NULL) = (looked_at_trace IS NULL))
);
CREATE INDEX IF NOT EXISTS monitors_created ON monitors (project_id, created_at, id);
-- Across projects, for schedulers.
CREATE INDEX IF NOT EXISTS monitors_due ON monitors (next_run_at, project_id, id)
    WHERE status = 'ACTIVE';

CREATE TABLE IF NOT EXISTS alerts (
    project_id uuid NOT NULL, id uuid NOT NULL,
    monitor_id uuid NOT NULL,
    metric text COLLATE "C" NOT NULL, figure text COLLATE "C" NOT NULL,
    threshold double precision NOT NULL, clear_at double precision NOT NULL,
    samples_min integer NOT NULL, breaches integer NOT NULL, recoveries integer NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('OK', 'ALERTING', 'NO_DATA')),
    since timestamptz NOT NULL, in_a_row integer NOT NULL, value double precision,
    awaits timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS alerts_created ON alerts (project_id, created_at, id);
CREATE INDEX IF NOT EXISTS alerts_state ON alerts (project_id, state, created_at, id);
CREATE INDEX IF NOT EXISTS alerts_monitor ON alerts (project_id, monitor_id, created_at, id);
-- Across projects: alerts on scheduled times at which no run has started.
CREATE INDEX IF NOT EXISTS alerts_slots ON alerts (project_id, id) WHERE figure = 'no_data';

CREATE TABLE IF NOT EXISTS alert_changes (
    project_id uuid NOT NULL, id uuid NOT NULL,
    monitor_id uuid NOT NULL, alert_id uuid NOT NULL, run_id uuid,
    before text COLLATE "C" NOT NULL CHECK (before IN ('OK', 'ALERTING', 'NO_DATA')),
    after text COLLATE "C" NOT NULL CHECK (after IN ('OK', 'ALERTING', 'NO_DATA')),
    value double precision, scored integer, failed integer, skipped integer,
    at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);
CREATE INDEX IF NOT EXISTS alert_changes_at ON alert_changes (project_id, at, id);
CREATE INDEX IF NOT EXISTS alert_changes_state ON alert_changes (project_id, after, at, id);
CREATE INDEX IF NOT EXISTS alert_changes_monitor ON alert_changes (project_id, monitor_id, at, id);
CREATE INDEX IF NOT EXISTS alert_changes_alert ON alert_changes (project_id, alert_id);
-- Across projects, to delete old changes.
CREATE INDEX IF NOT EXISTS alert_changes_age ON alert_changes (at);

-- `secret_key_id` names the key that encrypted the secret; the keys aren't in the database.
CREATE TABLE IF NOT EXISTS webhooks (
    project_id uuid NOT NULL, id uuid NOT NULL,
    url text COLLATE "C" NOT NULL, format text COLLATE "C" NOT NULL,
    secret_key_id text COLLATE "C" NOT NULL, encrypted_secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);

-- `body` keeps the bytes that are sent: a signature is computed over them.
CREATE TABLE IF NOT EXISTS alert_deliveries (
    project_id uuid NOT NULL, id uuid NOT NULL,
    webhook_id uuid NOT NULL, change_id uuid, body bytea NOT NULL,
    attempts integer NOT NULL, status integer, error text COLLATE "C",
    next_attempt_at timestamptz, delivered_at timestamptz, held_until timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id),
    CHECK (next_attempt_at IS NULL OR delivered_at IS NULL)
);
CREATE INDEX IF NOT EXISTS alert_deliveries_webhook
    ON alert_deliveries (project_id, webhook_id, created_at, id);
-- Across projects, to send deliveries.
CREATE INDEX IF NOT EXISTS alert_deliveries_due
    ON alert_deliveries (next_attempt_at, project_id, id) WHERE next_attempt_at IS NOT NULL;
-- Across projects, to delete old deliveries.
CREATE INDEX IF NOT EXISTS alert_deliveries_over ON alert_deliveries (created_at)
    WHERE next_attempt_at IS NULL;
"""

WORKERS: Final = """
-- Heartbeats of worker processes. The rows belong to the installation, not to a project, because a
-- process works for any project.
CREATE TABLE IF NOT EXISTS workers (
    id uuid PRIMARY KEY,
    version text COLLATE "C" NOT NULL,
    started_at timestamptz NOT NULL, seen_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS workers_seen ON workers (seen_at);
"""

EXPORTS: Final = """
CREATE TABLE IF NOT EXISTS exports (
    project_id uuid NOT NULL, id uuid NOT NULL,
    format text COLLATE "C" NOT NULL CHECK (format IN ('csv', 'parquet', 'ndjson')),
    row_kind text COLLATE "C" NOT NULL CHECK (row_kind IN ('traces', 'spans')),
    matching json NOT NULL,
    status text COLLATE "C" NOT NULL
        CHECK (status IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED')),
    attempts integer NOT NULL,
    traces_total bigint, traces_done bigint NOT NULL,
    rows bigint NOT NULL, size bigint NOT NULL,
    sha256 text COLLATE "C", error text COLLATE "C",
    created_at timestamptz NOT NULL, due_at timestamptz,
    completed_at timestamptz, expires_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id),
    CHECK ((due_at IS NULL) = (status IN ('COMPLETED', 'FAILED')))
);
-- Both across projects, for workers.
CREATE INDEX IF NOT EXISTS exports_due ON exports (due_at, project_id, id) WHERE due_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS exports_expiry ON exports (expires_at, project_id, id);

-- The pieces of a file. PostgreSQL compresses a piece if that makes it smaller.
CREATE TABLE IF NOT EXISTS export_pieces (
    project_id uuid NOT NULL,
    export_id uuid NOT NULL,
    number integer NOT NULL,
    content bytea NOT NULL,
    PRIMARY KEY (project_id, export_id, number)
);
"""

PRICING: Final = """
CREATE TABLE IF NOT EXISTS model_prices (
    project_id uuid NOT NULL, id uuid NOT NULL,
    match text COLLATE "C" NOT NULL,
    input numeric NOT NULL, output numeric NOT NULL, cache_read numeric, cache_write numeric,
    effective_from timestamptz, effective_to timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, id)
);

-- `place` is the position of the last span that was read; `found` is the report so far.
CREATE TABLE IF NOT EXISTS repricings (
    project_id uuid NOT NULL, id uuid NOT NULL,
    started_after timestamptz, started_before timestamptz,
    models text[] COLLATE "C" NOT NULL,
    is_dry boolean NOT NULL,
    place json, found json NOT NULL,
    created_at timestamptz NOT NULL, completed_at timestamptz,
    held_until timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    error text,
    PRIMARY KEY (project_id, id)
);
-- Across projects, for workers.
CREATE INDEX IF NOT EXISTS repricings_due ON repricings (held_until, project_id, id)
    WHERE completed_at IS NULL;
"""

ERASURES: Final = """
-- `owner` is the id of the user or session whose data is deleted. It is kept until the data is
-- deleted; afterwards only its salted hash is kept.
CREATE TABLE IF NOT EXISTS erasures (
    project_id uuid NOT NULL, id uuid NOT NULL,
    organization_id uuid NOT NULL,
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('user', 'session')),
    owner text COLLATE "C",
    salt bytea NOT NULL, digest bytea NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('REMOVING', 'REMOVED')),
    requested_at timestamptz NOT NULL,
    actor_user_id uuid, actor_key_id uuid, actor_name text COLLATE "C" NOT NULL,
    removed_at timestamptz,
    rows json NOT NULL,
    PRIMARY KEY (project_id, id),
    CHECK ((state = 'REMOVED') = (removed_at IS NOT NULL)),
    CHECK ((state = 'REMOVED') = (owner IS NULL))
);
CREATE INDEX IF NOT EXISTS erasures_requested ON erasures (project_id, requested_at, id);
-- Across projects, for workers.
CREATE INDEX IF NOT EXISTS erasures_open ON erasures (requested_at, project_id, id)
    WHERE state = 'REMOVING';
CREATE INDEX IF NOT EXISTS erasures_active ON erasures (project_id) WHERE owner IS NOT NULL;

-- Late reports of an erased trace are refused for some days. No other index begins with the
-- project, so that a writer uses the whole key, whatever the statistics say.
CREATE TABLE IF NOT EXISTS erased_traces (
    project_id uuid NOT NULL, trace_id uuid NOT NULL,
    erasure_id uuid NOT NULL,
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, trace_id)
);
CREATE INDEX IF NOT EXISTS erased_traces_age ON erased_traces (erased_at);
"""


def _is_erased(alias: str, kind: str) -> str:
    """Whether the user or session of a row is being erased.

    Active erasures of all projects are few, so PostgreSQL hashes them once per statement. A row
    without an owner would be compared with each of them, so the first condition excludes it.
    """
    return f"""
({alias}.{kind}_id IS NOT NULL AND ({alias}.project_id, {alias}.{kind}_id) IN (
    SELECT e.project_id, e.owner FROM erasures AS e WHERE e.owner IS NOT NULL AND e.kind = '{kind}'
)) IS TRUE
"""


# OFFSET 0 makes it a lookup for each row. A join might be planned over a whole project.
_TRACE_IS_SHOWN: Final = f"""
NOT EXISTS (
    SELECT 1 FROM traces AS t
    WHERE t.project_id = s.project_id AND t.trace_id = s.trace_id
        AND ({_is_erased("t", "user")} OR {_is_erased("t", "session")})
    OFFSET 0
)
"""
_USER_IS_SHOWN: Final = f"NOT {_is_erased('s', 'user')}"
# A session that loses a trace is hidden with all its numbers, because its scores will be deleted.
# While no user is being erased, no traces are read.
_SESSION_IS_SHOWN: Final = f"""
NOT {_is_erased("s", "session")} AND (
    NOT EXISTS (SELECT 1 FROM erasures WHERE owner IS NOT NULL AND kind = 'user') OR NOT EXISTS (
        SELECT 1 FROM traces AS t
        WHERE t.project_id = s.project_id AND t.session_id = s.session_id
            AND {_is_erased("t", "user")}
        OFFSET 0
    )
)
"""
UUID_CHARACTERS: Final = 36
# Tables with rows of tenants, and the column of the tenant. These have two: a project sees its own
# rows, and an organization those of its projects.
_PROJECT_COLUMNS: Final = {"projects": "id", "trace_links": "project"}
_ORGANIZATION_COLUMNS: Final = {
    "organizations": "id",
    **dict.fromkeys(
        (
            *("memberships", "projects", "api_keys", "api_key_networks", "invitations"),
            *("login_codes", "download_tickets", "trace_links"),
            *("audit_log", "audit_chains", "access_refusals"),
        ),
        "organization_id",
    ),
}
_PROJECT_TABLES: Final = (
    *("removals", "traces", "trace_payloads", "removed_payload_objects"),
    *("long_texts", "shared_texts", "released_texts"),
    "otlp_rejections",
    "waiting_evaluations",
    *("search_queue", "search_traces", "search_terms", "search_segments"),
    *("search_postings", "search_garbage"),
    *("trace_facets", "trace_hours", "trace_percentiles", "usage_hours", "span_hours"),
    *("sessions", "session_hours"),
    *("trace_users", "trace_scores", "latest_trace_scores", "session_scores"),
    *("eval_runs", "eval_jobs"),
    *("score_rollups", "changed_score_days", "score_days", "score_day_numbers"),
    "annotation_claims",
    *("replies", "judge_verdicts", "judge_calls", "judge_budgets", "judge_spending"),
    *("custom_metrics", "custom_metric_revisions"),
    *("datasets", "dataset_versions", "dataset_items"),
    *("experiments", "experiment_results"),
    *("monitors", "alerts", "alert_changes", "webhooks", "alert_deliveries"),
    *("exports", "export_pieces", "model_prices", "repricings"),
    *("erasures", "erased_traces"),
)


def _in_scope(*columns: str) -> str:
    """Whether a row belongs to the scope of the transaction (docs/adr/0036).

    The first tenant of the scope is read once per statement, and nearly all rows end at the
    comparison with it. An array of all tenants takes twice as long for each row. The planner can't
    know the setting and would expect half of the rows. IS NOT NULL makes it expect nearly all of
    them, so that the plans are those of a table without a policy.
    """
    tenants = "current_setting('pandaprobe.tenants', true)"
    first = f"SELECT left(nullif({tenants}, ''), {UUID_CHARACTERS})::uuid"
    conditions = [
        *(f"{column} = ({first})" for column in columns),
        *(f"strpos({tenants}, {column}::text) > 0" for column in columns),
        "current_setting('pandaprobe.scope', true) = 'all'",
    ]
    return f"(CASE WHEN {' OR '.join(conditions)} THEN true END) IS NOT NULL"


def _policy(table: str, column: str) -> str:
    columns = (column, _PROJECT_COLUMNS[table]) if table in _PROJECT_COLUMNS else (column,)
    return f"""
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
ALTER TABLE {table} FORCE ROW LEVEL SECURITY;  -- for the owner too
DROP POLICY IF EXISTS tenant ON {table};
CREATE POLICY tenant ON {table} USING ({_in_scope(*columns)});
"""


ORGANIZATION_SECURITY: Final = "".join(_policy(*one) for one in _ORGANIZATION_COLUMNS.items())
PROJECT_SECURITY: Final = "".join(_policy(table, "project_id") for table in _PROJECT_TABLES)

# With a policy, PostgreSQL uses an index only for operators that it knows to leak nothing. `&&` of
# arrays and comparisons of numeric aren't among them. A view applies the same condition without
# this rule, with the rights of the owner of the tables.
_SEARCHED: Final = ("traces", "sessions")
_SCHEMA: Final = """
-- A role that may not create schemas uses an existing one: for it, even IF NOT EXISTS fails.
DO $$ BEGIN
    IF to_regnamespace('{0}') IS NULL THEN CREATE SCHEMA {0}; END IF;
END $$;
"""


def searchable(schema: str) -> Sequence[str]:
    return (
        _SCHEMA.format(schema),
        *(
            f"CREATE OR REPLACE VIEW {schema}.{table} AS"
            f" SELECT * FROM {table} AS s WHERE {_in_scope('s.project_id')}"
            for table in _SEARCHED
        ),
    )


# Statements that insert or update through it can't leave the scope either.
SPANS_IN_SCOPE: Final = (
    f"""
CREATE OR REPLACE VIEW spans AS SELECT * FROM span_rows WHERE {_in_scope("project_id")}
WITH CHECK OPTION
""",
    f"""
CREATE OR REPLACE VIEW span_fragments AS
SELECT * FROM span_fragment_rows WHERE {_in_scope("project_id")}
WITH CHECK OPTION
""",
)
# Views of the same names as their tables, without the data that is being erased (docs/adr/0035).
_VISIBLE: Final = {
    "traces": f"{_USER_IS_SHOWN} AND NOT {_is_erased('s', 'session')}",
    "span_rows": _TRACE_IS_SHOWN,
    "trace_scores": _TRACE_IS_SHOWN,
    "trace_users": _USER_IS_SHOWN,
    "sessions": _SESSION_IS_SHOWN,
    "session_scores": _SESSION_IS_SHOWN,
    "dataset_items": (
        f"{_TRACE_IS_SHOWN} AND {_USER_IS_SHOWN} AND NOT {_is_erased('s', 'session')}"
    ),
}
# Those of them that statements name, whatever the path: `visible_traces` for `visible.traces`.
_NAMED: Final = ("traces", "trace_scores", "sessions", "session_scores", "dataset_items")


def hiding(group: TableGroup) -> Sequence[str]:
    searchable, visible = group.searchable_schema, group.visible_schema
    shown = {
        table: f"SELECT * FROM {table} AS s WHERE {_in_scope('s.project_id')} AND {is_shown}"
        for table, is_shown in _VISIBLE.items()
    }
    return (
        _SCHEMA.format(visible),
        *(
            f"CREATE OR REPLACE VIEW"
            f" {visible}.{'spans' if table == 'span_rows' else table} AS {rows}"
            for table, rows in shown.items()
        ),
        *(f"CREATE OR REPLACE VIEW visible_{one} AS {shown[one]}" for one in _NAMED),
        f"""
-- The statements of the transaction read the views in place of the tables: those that can be
-- searched, and if data of the project is being erased, those without it.
CREATE OR REPLACE FUNCTION read_views(of uuid) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE path text := '{searchable}, ' || current_setting('search_path');
    BEGIN
        IF EXISTS (SELECT 1 FROM erasures WHERE project_id = of AND owner IS NOT NULL) THEN
            path := '{visible}, ' || path;
        END IF;
        PERFORM set_config('search_path', path, true);
    END $$;
""",
    )


def views_of_group(group: TableGroup) -> Sequence[str]:
    """The views, each in a script of its own: a later migration of their tables runs them again."""
    return (*searchable(group.searchable_schema), *SPANS_IN_SCOPE, *hiding(group))


# Large values are compressed by lz4 where the server has it: the default, pglz, takes much longer.
COMPRESSION: Final = """
DO $$
    DECLARE compressed record;
    BEGIN
        IF NOT (SELECT 'lz4' = ANY (enumvals) FROM pg_settings
                WHERE name = 'default_toast_compression') THEN
            RETURN;
        END IF;
        FOR compressed IN
            SELECT * FROM (VALUES
                ('span_fragment_rows', 'data'),
                ('dataset_items', 'input'), ('dataset_items', 'expected')
            ) AS large (relation, name)
        LOOP
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET COMPRESSION lz4',
                           compressed.relation, compressed.name);
        END LOOP;
    END $$;
"""

# Statements get the id of their project from a subquery (`IN_PROJECT`), so the planner assumes a
# project of average size. With thousands of small projects the average is a few rows: any index
# would seem as good as another, and a page would read all rows of a large project. With this
# number it assumes that a project has half of each table. What it then reads too much of a
# small project is little.
PROJECTS_ASSUMED: Final = 2
PLANNING: Final = "".join(
    f"ALTER TABLE {table} ALTER COLUMN project_id SET (n_distinct = {PROJECTS_ASSUMED});\n"
    for table in (*_PROJECT_TABLES, "span_rows", "span_fragment_rows")
)

SHARED: Final = (IDENTITY, SHARED_SPENDING, WORKERS, ORGANIZATION_SECURITY)


def group_scripts(group: TableGroup) -> Sequence[str]:
    return (
        *(REMOVALS, TRACES, SEARCH, FRAGMENTS, ROLLUPS, SCORES, RUNS, JUDGE_COSTS, CUSTOM_METRICS),
        *(DATASETS, EXPERIMENTS, MONITORS, EXPORTS, PRICING, ERASURES, PROJECT_SECURITY),
        *views_of_group(group),
        *(COMPRESSION, PLANNING),
    )


BACKWARDS: Final = (
    """
    DO $$
        DECLARE n integer;
        BEGIN
            FOR n IN SELECT number FROM table_groups WHERE number > 1 LOOP
                EXECUTE format('DROP SCHEMA group_%1$s, group_%1$s_searchable, group_%1$s_visible'
                               ' CASCADE', n);
            END LOOP;
        END $$;
    """,
    "DROP FUNCTION IF EXISTS read_views(uuid)",
    "DROP TRIGGER IF EXISTS audit_log_chain ON audit_log",
    "DROP FUNCTION IF EXISTS chain_audit_entry()",
    "DROP SCHEMA IF EXISTS visible CASCADE",
    "DROP SCHEMA IF EXISTS searchable CASCADE",
    "DROP VIEW IF EXISTS spans, span_fragments",
    "DROP VIEW IF EXISTS visible_traces, visible_trace_scores, visible_sessions",
    "DROP VIEW IF EXISTS visible_session_scores, visible_dataset_items",
    """
    DROP TABLE IF EXISTS
        table_groups,
        organizations, users, memberships, projects, api_keys, api_key_networks, invitations,
        login_codes, browser_sessions, sign_in_attempts, download_tickets,
        trace_links,
        audit_log, audit_chains, access_refusals,
        removals,
        traces, trace_payloads, removed_payload_objects, span_rows, span_fragment_rows,
        long_texts, shared_texts, released_texts,
        otlp_rejections,
        waiting_evaluations,
        search_queue, search_traces, search_terms, search_segments, search_postings,
        search_garbage,
        trace_facets, trace_hours, trace_percentiles, usage_hours, span_hours, sessions,
        session_hours, trace_users,
        trace_scores, latest_trace_scores, session_scores, score_rollups, changed_score_days,
        score_days, score_day_numbers, annotation_claims,
        eval_runs, eval_jobs, replies,
        judge_verdicts, judge_calls, judge_budgets, judge_spending, shared_spending,
        custom_metrics, custom_metric_revisions,
        datasets, dataset_versions, dataset_items,
        experiments, experiment_results,
        monitors, alerts, alert_changes, webhooks, alert_deliveries,
        workers,
        exports, export_pieces,
        model_prices, repricings,
        erasures, erased_traces
    """,
    "DROP FUNCTION IF EXISTS remove_payload_object()",
    "DROP FUNCTION IF EXISTS refuse_while_moving()",
    "DROP FUNCTION IF EXISTS note_changed_trace_scores()",
    "DROP FUNCTION IF EXISTS keep_latest_trace_scores_insert()",
    "DROP FUNCTION IF EXISTS keep_latest_trace_scores_update()",
    "DROP FUNCTION IF EXISTS keep_latest_trace_scores_delete()",
    "DROP FUNCTION IF EXISTS note_changed_session_scores()",
    "DROP FUNCTION IF EXISTS audit_field(text)",
)


MIGRATION: Final = SqlMigration(
    id=ID, description=DESCRIPTION, shared=SHARED, group_scripts=group_scripts, backwards=BACKWARDS
)


async def forwards() -> MigrationManager:
    """The migration, as Piccolo asks for it."""
    return MIGRATION.manager()
