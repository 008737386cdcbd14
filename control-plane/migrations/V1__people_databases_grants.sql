-- Who may enter what, and until when. History outlives people and databases: deleting sets deleted_at.

create table users (
    id bigint generated always as identity primary key,
    username text not null,
    -- Argon2id, PHC string format; checks passwords of REST, gRPC and the console.
    password_hash text not null,
    -- SCRAM-SHA-256 verifier, sealed; checks logins through the proxies.
    scram_verifier_sealed bytea not null,
    -- The well-known first password: good for the API, refused by the proxies.
    password_is_default boolean not null default false,
    is_admin boolean not null default false,
    is_disabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Kept by users_credentials_changed: sessions that began with an earlier password end.
    password_changed_at timestamptz not null default now(),
    deleted_at timestamptz
);
create unique index users_username_key on users (username) where deleted_at is null;

create table databases (
    id bigint generated always as identity primary key,
    name text not null,
    description text not null default '',
    host text not null,
    port integer not null check (port between 1 and 65535),
    database_name text not null,
    username text not null,
    password_sealed bytea not null,
    read_username text,
    read_password_sealed bytea,
    ssl_mode text not null
        check (ssl_mode in ('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full')),
    -- PEM; null: the system's roots.
    ssl_root_cert text,
    -- False: no rows of this database are kept.
    record_rows boolean not null default true,
    is_disabled boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Kept by databases_target_changed: sessions that began with an earlier target end.
    target_changed_at timestamptz not null default now(),
    deleted_at timestamptz,
    check ((read_username is null) = (read_password_sealed is null))
);
create unique index databases_name_key on databases (name) where deleted_at is null;

-- clock_timestamp(), not now(): the change may wait for a login that holds the row, and counts as later than that.
create function users_credentials_changed() returns trigger language plpgsql as $$
begin
    new.password_changed_at := clock_timestamp();
    return new;
end $$;
create trigger users_credentials_changed before update of password_hash on users
    for each row when (new.password_hash is distinct from old.password_hash)
    execute function users_credentials_changed();

-- A new password of the stored login is no other target: sessions that are in stay in.
create function databases_target_changed() returns trigger language plpgsql as $$
begin
    new.target_changed_at := clock_timestamp();
    return new;
end $$;
create trigger databases_target_changed before update on databases
    for each row when (
        (new.host, new.port, new.database_name, new.username, new.read_username, new.ssl_mode, new.ssl_root_cert)
        is distinct from
        (old.host, old.port, old.database_name, old.username, old.read_username, old.ssl_mode, old.ssl_root_cert))
    execute function databases_target_changed();

create table grants (
    id bigint generated always as identity primary key,
    user_id bigint not null references users,
    database_id bigint not null references databases,
    access_level text not null check (access_level in ('read', 'write')),
    starts_at timestamptz not null,
    expires_at timestamptz not null,
    max_queries bigint check (max_queries >= 0),
    max_bytes bigint check (max_bytes >= 0),
    block_copy boolean not null default false,
    block_ddl boolean not null default false,
    statement_timeout_ms bigint check (statement_timeout_ms > 0),
    max_connections integer check (max_connections > 0),
    audit_level text not null check (audit_level in ('spooled', 'strict')),
    reason text not null default '',
    created_by bigint not null references users,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    revoked_by bigint references users,
    -- Spent by ended sessions plus held by running ones; see connections.*_reserved.
    queries_reserved bigint not null default 0 check (queries_reserved >= 0),
    bytes_reserved bigint not null default 0 check (bytes_reserved >= 0),
    check (expires_at > starts_at),
    check (max_queries is null or queries_reserved <= max_queries),
    check (max_bytes is null or bytes_reserved <= max_bytes)
);
create index grants_user_database on grants (user_id, database_id);
create index grants_database on grants (database_id);

-- API tokens, and the sessions of /api/login. Only a hash of the token is kept.
create table tokens (
    id bigint generated always as identity primary key,
    user_id bigint not null references users,
    kind text not null check (kind in ('api', 'session')),
    name text not null,
    -- SHA-256 of a random token; 256 bits of entropy need no slow hash.
    token_hash bytea not null unique,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index tokens_user on tokens (user_id);

create table audit_events (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    -- Null: nobody was logged in (a refused login), or PgLens itself.
    actor_id bigint,
    actor text not null,
    -- "user.created", "grant.revoked", "rows.read", "login.refused", ...
    action text not null,
    subject_type text not null,
    subject_id text not null,
    before jsonb,
    after jsonb,
    client_address text
);
create index audit_events_subject on audit_events (subject_type, subject_id);
create index audit_events_actor on audit_events (actor_id);
create index audit_events_action on audit_events (action);
