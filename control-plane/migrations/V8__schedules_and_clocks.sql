-- Hours of grants, and what the proxies' clocks say.

-- {"time_zone", "windows": [{"days", "from", "until"}]}; null: at any hour.
alter table grants add column schedule jsonb;

-- When the hours end in which the session was let in; null: they do not.
alter table connections add column window_ends_at timestamptz;

-- The proxy's clock less the storage database's, when its last heartbeat came; the way of the message is in it.
alter table proxy_runs add column clock_skew_us bigint;
