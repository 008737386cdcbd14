-- The record: proxies, connections, statements, rows.

create table proxy_runs (
    run_id uuid primary key,
    -- The name in the proxy's client certificate; a run belongs to one identity for ever.
    proxy_name text not null,
    hostname text not null default '',
    version text not null default '',
    started_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- Set when the lease ran out without a word.
    lost_at timestamptz,
    active_sessions integer not null default 0,
    -- Records up to this one are stored; moved in the transaction that stores them.
    committed_sequence bigint not null default 0,
    record_key_sealed bytea not null
);
create index proxy_runs_last_seen on proxy_runs (last_seen_at) where lost_at is null;

create table connections (
    id uuid primary key,
    run_id uuid not null references proxy_runs,
    user_id bigint not null references users,
    database_id bigint not null references databases,
    grant_id bigint not null references grants,
    client_address text not null,
    application_name text not null default '',
    -- Null: plain TCP.
    tls_version text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    end_reason text,
    sqlstate text,
    -- Set by an administrator; the proxies are told.
    kill_requested_at timestamptz,
    kill_requested_by bigint references users,
    -- False: records of it may be missing.
    audit_complete boolean not null default true,
    -- Records of it that could not be stored for what they hold; an audit event names each.
    refused_records bigint not null default 0,
    query_count bigint not null default 0,
    bytes_in bigint not null default 0,
    bytes_out bigint not null default 0,
    -- Handed out to this session from its grant's quotas; given back, less what was used, when it ends.
    queries_reserved bigint not null default 0,
    bytes_reserved bigint not null default 0
);
create index connections_user on connections (user_id, id);
create index connections_database on connections (database_id, id);
create index connections_grant on connections (grant_id, id);
create index connections_running on connections (run_id) where ended_at is null;

-- Keys that rows and parameters are sealed with, one for each day, wrapped by the master key. Dropping the row makes the
-- day's values unreadable for ever.
create table data_keys (
    day date primary key,
    key_sealed bytea not null,
    created_at timestamptz not null default now()
);

-- Ids are UUIDv7: the first 48 bits are the Unix time in milliseconds, so ranges of ids are ranges of time and a
-- day's partition is found from the id alone.
create table queries (
    id uuid primary key,
    connection_id uuid not null,
    user_id bigint not null,
    database_id bigint not null,
    grant_id bigint not null,
    sequence bigint not null,
    sql text not null,
    kind text not null,
    fingerprint text not null default '',
    -- Day of the data key that parameters and rows are sealed with.
    key_day date not null,
    parameters_sealed bytea,
    started_at timestamptz not null,
    first_row_us bigint,
    -- Null: still running, or its end was lost with its proxy.
    duration_us bigint,
    row_count bigint not null default 0,
    bytes_in bigint not null default 0,
    bytes_out bigint not null default 0,
    command_tag text not null default '',
    -- Empty: it succeeded, or still runs.
    sqlstate text not null default '',
    error_message text not null default '',
    refusal text not null default '',
    transaction_status text not null default '',
    -- [{"name", "type_oid", "type_modifier", "format", "table_oid", "table_column"}]
    columns jsonb,
    rows_truncated boolean not null default false,
    captured_rows bigint not null default 0,
    captured_bytes bigint not null default 0,
    result_digest bytea,
    outcome_unknown boolean not null default false
) partition by range (id);
create index queries_connection on queries (connection_id, sequence);
create index queries_user on queries (user_id, id);
create index queries_database on queries (database_id, id);
create index queries_grant on queries (grant_id, id);
create index queries_failed on queries (sqlstate, id) where sqlstate <> '';
-- Ids from a clock that is far off land here; nothing is refused for it.
create table queries_default partition of queries default;

create table query_rows (
    query_id uuid not null,
    chunk integer not null,
    first_row bigint not null,
    row_count integer not null,
    -- Day of the data key; as in queries, but a chunk may come in on another day than its statement.
    key_day date not null,
    -- zstd, then sealed; the query's id and the chunk's number are associated data.
    data_sealed bytea not null,
    primary key (query_id, chunk)
) partition by range (query_id);
create table query_rows_default partition of query_rows default;
