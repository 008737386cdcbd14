-- The sums of whole hours and days, so that those of a month are not made of 40,000 minutes.

create table stats_hours (like stats_minutes including all);
alter table stats_hours rename column minute to hour;

create table stats_fingerprint_days (like stats_fingerprints including all);
alter table stats_fingerprint_days rename column hour to day;

insert into stats_hours
    select date_trunc('hour', minute, 'UTC'), user_id, database_id, sum(statements), sum(errors), sum(refusals),
        sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_minutes group by 1, 2, 3;

insert into stats_fingerprint_days
    select date_trunc('day', hour, 'UTC'), fingerprint, database_id,
        (array_agg(example order by hour desc) filter (where example is not null))[1], sum(statements), sum(errors),
        sum(refusals), sum(rows), sum(bytes_in), sum(bytes_out), sum(duration_us)
    from stats_fingerprints group by 1, 2, 3;
