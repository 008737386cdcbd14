-- What ran, in sums: a batch adds its own in the transaction that stores it, and a background job of one replica folds them
-- together. Reading adds up both, so that nothing is missing and nothing counts twice.

create table stats_deltas (
    minute timestamptz not null,
    user_id bigint not null,
    database_id bigint not null,
    -- Empty: not parsed, or one of too many in its batch.
    fingerprint text not null,
    -- One of the statements; null: they began in an earlier batch.
    example uuid,
    statements bigint not null,
    errors bigint not null,
    refusals bigint not null,
    rows numeric not null,
    bytes_in numeric not null,
    bytes_out numeric not null,
    duration_us numeric not null
);

create table stats_minutes (
    minute timestamptz not null,
    user_id bigint not null,
    database_id bigint not null,
    statements bigint not null,
    errors bigint not null,
    refusals bigint not null,
    rows numeric not null,
    bytes_in numeric not null,
    bytes_out numeric not null,
    duration_us numeric not null,
    primary key (minute, user_id, database_id)
);

create table stats_fingerprints (
    hour timestamptz not null,
    fingerprint text not null,
    database_id bigint not null,
    example uuid,
    statements bigint not null,
    errors bigint not null,
    refusals bigint not null,
    rows numeric not null,
    bytes_in numeric not null,
    bytes_out numeric not null,
    duration_us numeric not null,
    primary key (hour, fingerprint, database_id)
);

-- How many sessions were open at a time.
create index connections_ended on connections (ended_at) where ended_at is not null;

-- What was stored before this.
insert into stats_deltas
    select date_trunc('minute', started_at, 'UTC'), user_id, database_id, fingerprint, (array_agg(id))[1], count(*),
        count(*) filter (where sqlstate <> '' and refusal = ''), count(*) filter (where refusal <> ''),
        sum(row_count), sum(bytes_in), sum(bytes_out), coalesce(sum(duration_us), 0)
    from queries group by 1, 2, 3, 4;
