-- What waits to be sent to a collector of logs. An entry is written in the transaction of what it names, and goes when
-- the collector has taken that. So nothing depends on an order: what commits late, whatever its time or its place in a
-- sequence, is there from its commit on until it has been sent.

create table feed_state (
    singleton boolean primary key default true check (singleton),
    -- When a replica with a collector was last there; null: nobody wants a feed, and nothing waits for one.
    wanted_at timestamptz,
    -- The replica that sends, and until when it may without saying so again.
    leader uuid,
    leader_until timestamptz,
    -- When the collector last took something.
    exported_at timestamptz
) with (fillfactor = 50);
insert into feed_state default values;

create table feed_queue (
    id bigint generated always as identity primary key,
    -- Of what is sent: stays the same when it is sent again. Statements have their own.
    uid uuid not null default gen_random_uuid(),
    queued_at timestamptz not null default now(),
    kind text not null check (kind in ('statements', 'session_started', 'session_ended', 'audit_event')),
    -- Ids of statements that ended; shortened from the front as they are sent.
    statements uuid[],
    connection_id uuid,
    audit_event_id bigint
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- Ids do not compress.
alter table feed_queue alter column statements set storage external;

create function feed_is_wanted() returns boolean stable language sql
    return exists (select from feed_state where wanted_at is not null);

-- Statements that run; those of a session that is given up are among them. There are few at a time.
create index queries_unended on queries (connection_id) where duration_us is null;

create function feed_session_started() returns trigger language plpgsql as $$
begin
    if feed_is_wanted() then
        insert into feed_queue (kind, connection_id) values ('session_started', new.id);
    end if;
    return null;
end $$;
create trigger feed_session_started after insert on connections
    for each row execute function feed_session_started();

-- A session that is given up takes its running statements along, as of unknown outcome. What its proxy tells after all
-- comes as a further end.
create function feed_session_ended() returns trigger language plpgsql as $$
declare
    running uuid[];
begin
    if not feed_is_wanted() then
        return null;
    end if;
    if new.end_reason in ('proxy_lost', 'not_held', 'proxy_restarted') then
        select array_agg(id order by id) into running
            from queries where connection_id = new.id and duration_us is null;
        if running is not null then
            insert into feed_queue (kind, statements) values ('statements', running);
        end if;
    end if;
    insert into feed_queue (kind, connection_id) values ('session_ended', new.id);
    return null;
end $$;
create trigger feed_session_ended after update of ended_at, end_reason, audit_complete on connections
    for each row when (
        new.ended_at is not null
        and (new.ended_at, new.end_reason, new.audit_complete)
            is distinct from (old.ended_at, old.end_reason, old.audit_complete))
    execute function feed_session_ended();

create function feed_audit_event() returns trigger language plpgsql as $$
begin
    if feed_is_wanted() then
        insert into feed_queue (kind, audit_event_id) values ('audit_event', new.id);
    end if;
    return null;
end $$;
create trigger feed_audit_event after insert on audit_events
    for each row execute function feed_audit_event();
