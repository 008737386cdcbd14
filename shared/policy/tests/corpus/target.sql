-- The database that the corpus attacks: honest objects, objects of an owner that have effects, and proof.world(), which
-- changes when anything does. Run by a superuser; `plain_owner` exists.

create schema app authorization plain_owner;
create schema proof;
grant usage on schema proof to public;
create extension dblink;
create extension tablefunc;
create extension pg_trgm;
create extension hstore;
create extension pgcrypto;
create extension citext;
create extension pg_stat_statements;
create extension lo;
grant all on schema public to plain_owner;
set role plain_owner;

create table public.t (id int primary key, a int, b text, c int[]);
create table public.u (id int primary key, a int);
create table public.written (id int, note text);
create table public.accounts (id int primary key, name text, created timestamptz default now(), data jsonb, kind text);
create index i on public.t (a);
create trigger quiet before update on public.t for each row execute function suppress_redundant_updates_trigger();
create index g on public.accounts using gin (data);
create sequence public.s;
create materialized view public.m as select 1 as one;
create view public.shown as select id, a from public.t;
create table public.parted (k int, v text) partition by range (k);
create table public.parted_1 partition of public.parted for values from (0) to (100);
insert into public.t select n, n, 'row ' || n, array[n] from generate_series(1, 5) n;
insert into public.u select n, n from generate_series(1, 5) n;
insert into public.accounts select n, 'name ' || n, now(), '{"a": 1}', 'x' from generate_series(1, 5) n;
create type public.mood as enum ('sad', 'ok', 'happy');
create type app.pair as (x int, y int);
create domain public.positive as int check (value > 0);

-- What an honest owner has.
create function app.tax(numeric) returns numeric language sql immutable as 'select $1 * 0.19';
create function app.total(int) returns bigint language plpgsql stable as
    $$ begin return (select sum(a) from public.t where id <= $1); end $$;
create function app.full_name(public.accounts) returns text language sql stable as 'select $1.name || '' (account)''';
create function app.recent(n int default 3) returns setof public.accounts language sql stable as
    'select * from public.accounts order by id desc limit n';
create aggregate app.product(int) (sfunc = int4mul, stype = int, initcond = '1');
create function app.near(int, int) returns boolean language sql immutable as 'select $1 - $2 between -1 and 1';
create operator app.~~~ (leftarg = int, rightarg = int, function = app.near);
-- Volatile, and allowed by the administrator of PgLens.
create function app.coupon() returns text language plpgsql volatile as $$ begin return md5(random()::text); end $$;

-- What has an effect that a read-only transaction does not stop: a lock that others wait for.
create function app.effect() returns int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function app.effect_of(int) returns int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function app.effect_text(text) returns text language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return $1; end $$;
create function app.effect_many(variadic int[]) returns int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function app.effect_default(a int default 1, b int default 2) returns int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function app.effect_rows() returns setof int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return next 1; end $$;
create function app.effect_check(int) returns boolean language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return true; end $$;
create function app.effect_near(int, int) returns boolean language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return true; end $$;
create function app.effect_step(int, int) returns int language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 1; end $$;
create function app.effect_pair(int) returns app.pair language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return row(1, 2); end $$;
create function public.note(public.t) returns text language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return 'noted'; end $$;
create function public.abs(text) returns text language plpgsql volatile as
    $$ begin perform pg_advisory_lock(4711); return $1; end $$;
create operator public.=== (leftarg = int, rightarg = int, function = app.effect_near);
create operator public.!!! (rightarg = int, function = app.effect_check);
create aggregate app.effect_sum(int) (sfunc = app.effect_step, stype = int, initcond = '0');
create cast (int as app.pair) with function app.effect_pair(int);
create domain app.checked as int check (app.effect_check(value));
create domain app.checked_again as app.checked;
create domain app.locked as int check (pg_try_advisory_lock(4711) is not null and value > 0);
-- Labelled as stable by an owner who should know better.
create function app.run(q text) returns text language plpgsql stable as
    $$ declare r text; begin execute q into r; return r; end $$;
create function app.indirect() returns int language sql stable as 'select app.effect()';
create function app.indirect_twice() returns int language plpgsql stable as $$ begin return app.indirect(); end $$;
create function app.indirect_builtin() returns void language sql immutable as 'select pg_advisory_lock(4711)';
create function app.indirect_quoted() returns void language plpgsql stable as
    $$ begin perform "pg_catalog" . "pg_advisory_lock" (4711); end $$;
create function app.atomic() returns int language sql stable begin atomic select app.effect(); end;
create function app.with_setting() returns text language sql stable set default_transaction_read_only = off as
    $$ select current_setting('default_transaction_read_only') $$;
create procedure app.proc() language plpgsql as $$ begin perform pg_advisory_lock(4711); end $$;
create procedure public.p() language plpgsql as $$ begin perform pg_advisory_lock(4711); end $$;
create function app.allowed_unlock() returns text language plpgsql volatile as
    $$ begin return set_config('default_transaction_read_only', 'off', false); end $$;
reset role;
create function app.lock_internal(bigint) returns void language internal stable strict as 'pg_advisory_lock_int8';
create function app.unlock_guard() returns text language plpgsql volatile as
    $$ begin return set_config('default_transaction_read_only', 'off', false); end $$;

-- The other large objects of the world.
select lo_from_bytea(4711, 'large');
alter large object 4711 owner to plain_owner;
create role bystander;
create publication pub for table public.t;

-- One value that is another one after any change that outlives a session or reaches others.
create function proof.world() returns text language sql volatile security definer set search_path = pg_catalog as $$
    select concat_ws(E'\n',
        (select md5(coalesce(string_agg(x::text, '|' order by id), '')) from public.t x),
        (select md5(coalesce(string_agg(x::text, '|' order by id), '')) from public.u x),
        (select count(*) from public.written), (select count(*) from public.accounts), (select count(*) from public.parted),
        (select last_value || is_called::text from public.s),
        (select md5(string_agg(concat_ws(' ', relname, relkind, relpersistence, relowner, relacl, reloptions, relreplident,
            relfilenode, relrowsecurity, relhasrules, relhastriggers), '|' order by oid)) from pg_class
            where relpersistence <> 't' and relnamespace::regnamespace::text !~ '^pg_toast'),
        (select md5(string_agg(p::text, '|' order by p.oid)) from pg_proc p where p.oid >= 16384),
        (select count(*) || ' ' || count(xmin) from pg_attribute where attrelid >= 16384),
        (select md5(string_agg(concat(oid, typname, typacl, typowner), '|' order by oid)) from pg_type where oid >= 16384),
        (select md5(string_agg(n::text, '|' order by oid)) from pg_namespace n where nspname !~ 'temp'),
        (select count(*) from pg_constraint), (select md5(string_agg(concat(tgname, tgenabled), '|' order by oid)) from pg_trigger),
        (select count(*) from pg_rewrite), (select count(*) from pg_enum), (select count(*) from pg_ts_config),
        (select count(*) from pg_description), (select count(*) from pg_shdescription), (select count(*) from pg_seclabel),
        (select count(*) from pg_extension), (select count(*) from pg_foreign_data_wrapper),
        (select count(*) from pg_foreign_server), (select count(*) from pg_user_mapping),
        (select count(*) from pg_collation), (select count(*) from pg_operator), (select count(*) from pg_cast),
        (select count(*) from pg_policy), (select count(*) from pg_statistic), (select count(*) from pg_statistic_ext),
        (select count(*) from pg_event_trigger), (select count(*) from pg_publication),
        (select count(*) from pg_publication_rel), (select count(*) from pg_default_acl),
        (select md5(string_agg(l::text, '|' order by oid)) from pg_largeobject_metadata l),
        (select md5(string_agg(data, '' order by loid, pageno)) from pg_largeobject),
        (select md5(string_agg(a::text, '|' order by oid)) from pg_authid a),
        (select count(*) from pg_auth_members), (select md5(string_agg(s::text, '|')) from pg_db_role_setting s),
        (select md5(string_agg(concat(datname, datacl, datdba, datconnlimit), '|' order by oid)) from pg_database
            where datname !~ '^attacked'),
        (select count(*) from pg_tablespace), (select count(*) from pg_subscription), (select count(*) from pg_prepared_xacts),
        (select count(*) from pg_replication_slots), (select count(*) from pg_replication_origin),
        (select md5(string_agg(f::text, '|')) from pg_file_settings f where sourcefile ~ 'auto'),
        (select count(*) from pg_locks where locktype = 'advisory'),
        (select count(*) from pg_locks where database = (select oid from pg_database where datname = current_database())
            and mode ~ 'RowShare|Exclusive|^ShareLock' and locktype in ('relation', 'tuple') and pid <> pg_backend_pid()
            -- The server's own housekeeping, when it happens to come by.
            and pid not in (select pid from pg_stat_activity where backend_type = 'autovacuum worker')),
        (select coalesce(stats_reset::text, '') from pg_stat_database where datname = current_database()),
        (select stats_reset::text from pg_stat_bgwriter), (select stats_reset::text from pg_stat_archiver),
        (select pg_walfile_name(pg_current_wal_insert_lsn())), (select pg_conf_load_time()::text)
    )
$$;

-- So that the time of the last reset is there before anything is compared with it.
select pg_stat_reset();
