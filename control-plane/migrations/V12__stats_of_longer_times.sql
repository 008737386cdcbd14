-- The sums of whole hours and days, so that those of a month are not made of 40,000 minutes.

create table stats_hours (
    hour timestamptz not null,
    user_id bigint not null,
    database_id bigint not null,
    statements bigint not null,
    errors bigint not null,
    refusals bigint not null,
    rows numeric not null,
    bytes_in numeric not null,
    bytes_out numeric not null,
    duration_us numeric not null,
    primary key (hour, user_id, database_id)
);

create table stats_fingerprint_days (
    day timestamptz not null,
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
    primary key (day, fingerprint, database_id)
);

insert into stats_hours
    select date_trunc('hour', minute, 'UTC'), user_id, database_id, sum(statements), sum(errors), sum(refusals),
        sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_minutes group by 1, 2, 3;

insert into stats_fingerprint_days
    select date_trunc('day', hour, 'UTC'), fingerprint, database_id,
        (array_agg(example order by hour desc) filter (where example is not null))[1], sum(statements), sum(errors),
        sum(refusals), sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_fingerprints group by 1, 2, 3;
