-- A record of :statements statements over the last :days days, for the plans and the times of lists: 40 users, 5
-- databases, 120 grants, 40 statements to a connection. Failed, refused, slow and large statements are rare, as they are.
insert into users (username, password_hash, scram_verifier_sealed)
    select 'user_' || n, '', '' from generate_series(1, 40) n;
insert into databases (name, host, port, database_name, username, password_sealed, ssl_mode)
    select 'database_' || n, 'db.invalid', 5432, 'app', 'app', '', 'prefer' from generate_series(1, 5) n;
insert into grants (user_id, database_id, access_level, starts_at, expires_at, audit_level, created_by)
    select u.id, d.id, 'read', now() - interval '90 days', now() + interval '90 days', 'spooled', 1
    from users u join databases d on (u.id + d.id) % 5 < 3 order by u.id, d.id;
insert into proxy_runs (run_id, proxy_name, record_key_sealed)
    values ('01900000-0000-7000-8000-000000000001', 'proxy-1', '');

-- The id of something that began so many microseconds ago; n makes it unique.
create function made_id(microseconds_ago bigint, n bigint) returns uuid language sql as $$
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - microseconds_ago / 1000), 12, '0')
        || '7' || lpad(to_hex(n % 4096), 3, '0') || '8' || lpad(to_hex(n), 15, '0'))::uuid
$$;

insert into connections
    (id, run_id, user_id, database_id, grant_id, client_address, started_at, ended_at, end_reason, query_count)
    select made_id(c * 40 * (:days * 86400000000 / :statements) + 1000000, c), '01900000-0000-7000-8000-000000000001',
        g.user_id, g.database_id, g.id, '192.0.2.7:51234',
        now() - (c * 40 * (:days * 86400000000 / :statements) + 1000000) * interval '1 microsecond',
        now() - (c - 1) * 40 * (:days * 86400000000 / :statements) * interval '1 microsecond', 'client_closed', 40
    from generate_series(1, :statements / 40) c
    join grants g on g.id = 1 + c % (select count(*) from grants);

insert into queries (id, connection_id, user_id, database_id, grant_id, sequence, sql, kind, fingerprint, key_day,
        started_at, first_row_us, duration_us, row_count, bytes_in, bytes_out, command_tag, sqlstate, error_message,
        refusal, transaction_status, columns)
    select made_id(ago, n), c.id, c.user_id, c.database_id, c.grant_id, 1 + n % 40,
        'select id, name, created_at, price from t_' || n % 500 || ' where id = $1 and state <> ''closed'' order by name',
        'SELECT', 'f' || lpad(to_hex(n % 500), 15, '0'), (now() - ago * interval '1 microsecond')::date,
        now() - ago * interval '1 microsecond', 500, case when n % 200 = 0 then 100000 + n % 900000 else 800 + n % 9000 end,
        case when n % 300 = 0 then 1000 + n % 5000 else n % 50 end, 60, 1200, 'SELECT 1',
        case when n % 400 = 1 then '42P01' when n % 700 = 2 then '25006' when n % 20011 = 3 then '57014' else '' end,
        '', case when n % 700 = 2 then 'read_only' else '' end, 'I', null
    from (select n, n * (:days * 86400000000 / :statements) as ago, (n - 1) / 40 + 1 as connection
          from generate_series(:statements::bigint, 1, -1) n) n
    join (select c.*, row_number() over (order by id desc) as number from connections c) c on c.number = n.connection;

-- As they are once their batches have been summed up.
insert into stats_minutes
    select date_trunc('minute', started_at, 'UTC'), user_id, database_id, count(*),
        count(*) filter (where sqlstate <> '' and refusal = ''), count(*) filter (where refusal <> ''),
        sum(row_count), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from queries group by 1, 2, 3;
insert into stats_hours
    select date_trunc('hour', minute, 'UTC'), user_id, database_id, sum(statements), sum(errors), sum(refusals),
        sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_minutes group by 1, 2, 3;
insert into stats_fingerprints
    select date_trunc('hour', started_at, 'UTC'), fingerprint, database_id, (array_agg(id))[1], count(*),
        count(*) filter (where sqlstate <> '' and refusal = ''), count(*) filter (where refusal <> ''),
        sum(row_count), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from queries group by 1, 2, 3;

insert into stats_fingerprint_days
    select date_trunc('day', hour, 'UTC'), fingerprint, database_id, (array_agg(example))[1], sum(statements),
        sum(errors), sum(refusals), sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_fingerprints group by 1, 2, 3;

drop function made_id;
analyze;
