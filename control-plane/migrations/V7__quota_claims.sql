-- How sessions stand with their grant's quotas, as their proxies told it last.

alter table connections
    -- Of the requests of a session only the newest counts.
    add column quota_request bigint not null default 0,
    -- Spent by the session, as it told; the rest of *_reserved is held by it and can be called back.
    add column queries_told bigint not null default 0,
    add column bytes_told bigint not null default 0,
    -- Its proxy was lost, or never held it: what it holds is neither spent nor free until the record is complete.
    add column quota_withheld boolean not null default false;
create index connections_grant_running on connections (grant_id) where ended_at is null;
create index connections_withheld on connections (grant_id) where quota_withheld;
create index connections_withheld_run on connections (run_id) where quota_withheld;

-- All sessions of the grant were told that its quotas are nearly spent.
alter table grants
    add column queries_nearly_spent boolean not null default false,
    add column bytes_nearly_spent boolean not null default false;
