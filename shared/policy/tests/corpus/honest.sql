# Texts that a read grant must let through: one a line. `--- what` begins a section.

--- queries
SELECT 1
select * from accounts where id = $1
SELECT a, count(*) FROM t WHERE b > 10 GROUP BY a HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 10 OFFSET 5
SELECT DISTINCT a FROM t
SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC
SELECT t.a, u.b FROM t LEFT JOIN u USING (id) NATURAL JOIN v
SELECT * FROM t CROSS JOIN LATERAL (SELECT * FROM u WHERE u.id = t.id LIMIT 1) x
WITH x AS (SELECT 1), y AS MATERIALIZED (SELECT * FROM x) SELECT * FROM y
WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT sum(n) FROM r
WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT 2) CYCLE id SET is_cycle USING path SELECT * FROM r
WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT 2) SEARCH BREADTH FIRST BY id SET o SELECT * FROM r
VALUES (1, 'a'), (2, 'b')
TABLE t
(SELECT 1) UNION ALL (SELECT 2) INTERSECT SELECT 3 EXCEPT SELECT 4 ORDER BY 1
SELECT CASE WHEN a > 1 THEN 'x' WHEN a IS NULL THEN 'y' ELSE 'z' END FROM t
SELECT COALESCE(a, b), NULLIF(a, b), GREATEST(a, b), LEAST(a, b) FROM t
SELECT ARRAY[1, 2, 3], ARRAY(SELECT a FROM t), (ARRAY[1, 2])[1], (ARRAY[1, 2])[1:2], '{1}'::int[]
SELECT ROW(1, 2), (1, 2) = (3, 4), (c).field, (c).* FROM t
SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT sum(a) OVER w, lag(a) OVER w FROM t WINDOW w AS (ORDER BY b)
SELECT count(*) FILTER (WHERE a > 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t
SELECT a, b, grouping(a) FROM t GROUP BY ROLLUP (a, b)
SELECT a FROM t GROUP BY GROUPING SETS ((a), (b), ())
SELECT * FROM t WHERE a IN (1, 2, 3) AND b BETWEEN 1 AND 2 AND c LIKE 'x%' AND d ILIKE 'y' AND e SIMILAR TO 'z'
SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id) AND a = ANY ($1) AND b <> ALL (SELECT 1)
SELECT * FROM t WHERE a IS DISTINCT FROM b OR (a > 1) IS NOT TRUE OR NOT c
SELECT now(), current_timestamp, current_user, session_user, current_date, localtime(0), clock_timestamp()
SELECT a AT TIME ZONE 'UTC', extract(epoch FROM a), date_trunc('day', a), a + interval '1 day' FROM t
SELECT data->'a'->>'b', data #>> '{a,b}', data @> '{"a": 1}', jsonb_path_query(data, '$.a') FROM t
SELECT json_object('a': 1), json_array(1, 2), json_arrayagg(a), json_objectagg(a: b) FROM t
SELECT json_value('{"a": 1}', '$.a' RETURNING int DEFAULT 0 ON EMPTY), json_exists('{}', '$.a'), '{}' IS JSON
SELECT * FROM json_table('[{"a": 1}]', '$[*]' COLUMNS (id FOR ORDINALITY, a int PATH '$.a', NESTED PATH '$.b' COLUMNS (c text)))
SELECT xmlelement(name a, xmlattributes('x' AS b), 'c'), xmlforest(a, b), xmlparse(document '<a/>') FROM t
SELECT * FROM xmltable('/a/b' PASSING '<a><b/></a>' COLUMNS c text PATH 'c' DEFAULT 'x', n FOR ORDINALITY)
SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(x, n)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS x(a, b)
SELECT * FROM json_to_recordset('[]') AS x(a int, b text COLLATE "C")
SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)
SELECT * FROM t ORDER BY a FETCH FIRST 5 ROWS WITH TIES
SELECT substring('abc' FROM 2 FOR 1), position('a' IN 'b'), trim(both 'x' FROM 'y'), overlay('a' PLACING 'b' FROM 1)
SELECT E'a\'b', $$dollar$$, U&'\0041', B'101', X'1F', 1e5, .5, 0x1F
SELECT to_tsvector('english', a) @@ to_tsquery('b') FROM t
SELECT format('%I.%s', 'a', 'b'), quote_ident('x'), md5('x'), random(), gen_random_uuid(), pg_sleep(0.1)
SELECT a COLLATE "de_DE", b::varchar(10), c::numeric(10, 2), d::timestamp(3) with time zone FROM ONLY t
SELECT lo_get(1), currval('s'), lastval(), pg_size_pretty(pg_total_relation_size('t'))
SELECT has_table_privilege('t', 'SELECT'), pg_backend_pid(), version(), inet_client_addr(), txid_current_if_assigned()
SELECT 1; SELECT 2; SELECT 3
;
-- only a comment
/* SELECT ; */ SELECT 1 -- DROP TABLE t
SELECT 'DROP TABLE t; DELETE FROM t', "delete", $x$ INSERT INTO t $x$ FROM "insert into"
SELECT nextval FROM sequences
SELECT ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery)
SELECT r.http_status, l.lo_revenue, m.master_id, (r.c).http_method FROM r, l, m
SELECT t.schedule, t.name, t.role, t.lock FROM t

--- statements round queries
SHOW ALL
SHOW transaction_isolation
SHOW TIME ZONE
EXPLAIN SELECT * FROM t
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) SELECT * FROM t
EXPLAIN ANALYZE EXECUTE p(1, 'a')
EXPLAIN DECLARE c CURSOR FOR SELECT 1
COPY t TO STDOUT
COPY t (a, b) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE (a), DELIMITER ';')
COPY (SELECT * FROM t WHERE a > 1) TO STDOUT CSV HEADER
COPY BINARY t TO STDOUT
DECLARE c CURSOR FOR SELECT * FROM t
DECLARE c BINARY SCROLL CURSOR WITH HOLD FOR VALUES (1)
FETCH 100 FROM c
FETCH BACKWARD ALL IN c
MOVE FORWARD 10 IN c
CLOSE c
CLOSE ALL
PREPARE p (int, text) AS SELECT * FROM t WHERE a = $1 AND b = $2
EXECUTE p(1, 'a' || 'b')
DEALLOCATE p
DEALLOCATE ALL
LOCK TABLE public.t IN ACCESS SHARE MODE
LISTEN c
UNLISTEN *
DISCARD ALL
DISCARD PLANS
DISCARD SEQUENCES
DISCARD TEMP

--- transactions
BEGIN
BEGIN READ ONLY
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE
START TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
COMMIT
COMMIT AND CHAIN
END
ROLLBACK
ROLLBACK AND NO CHAIN
ABORT
SAVEPOINT s
RELEASE SAVEPOINT s
ROLLBACK TO SAVEPOINT s
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
SET TRANSACTION SNAPSHOT '00000003-0000001B-1'
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED
SET default_transaction_read_only = on
SET transaction_read_only TO true

--- settings
SET search_path TO a, b, "$user"
SET SCHEMA 'a'
SET LOCAL statement_timeout = '5s'
SET lock_timeout = 1000
SET idle_in_transaction_session_timeout TO DEFAULT
SET TIME ZONE 'Europe/Berlin'
SET TIME ZONE INTERVAL '+01:00' HOUR TO MINUTE
SET TIME ZONE LOCAL
SET timezone TO 'UTC'
SET client_encoding TO 'UTF8'
SET NAMES 'utf-8'
SET DateStyle TO ISO, DMY
SET IntervalStyle = iso_8601
SET application_name = 'x'
SET extra_float_digits = 3
SET bytea_output = 'hex'
SET work_mem = '64MB'
SET enable_seqscan = off
SET jit = off
SET max_parallel_workers_per_gather = 0
SET client_min_messages TO warning
SET row_security = off
SET synchronize_seqscans TO off
SET standard_conforming_strings = on
SET standard_conforming_strings TO 'on'
SET XML OPTION DOCUMENT
RESET search_path
RESET ALL
SELECT set_config('search_path', '', false)
SELECT pg_catalog.set_config('search_path', 'a, b', true)
SELECT set_config('jit', $1, false)
SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new
SELECT set_config('TimeZone', 'UTC', false)
SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'
SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'

--- what tools ask when they connect
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;
select pg_catalog.version()
select current_schema()
SELECT pg_catalog.pg_is_in_recovery()
SHOW standard_conforming_strings
SHOW TRANSACTION ISOLATION LEVEL
SELECT current_database(), current_schemas(true), current_setting('server_version_num')::int
SELECT oid, rolname FROM pg_catalog.pg_roles ORDER BY 1
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND a.atthasdef), a.attnotnull FROM pg_catalog.pg_attribute a WHERE a.attrelid = '16389' AND a.attnum > 0 AND NOT a.attisdropped
SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), pg_catalog.array_to_string(d.datacl, E'\n') FROM pg_catalog.pg_database d
SELECT p.proname, pg_catalog.pg_get_function_result(p.oid), CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' END FROM pg_catalog.pg_proc p
SELECT indexname, array_agg(attname ORDER BY arridx) FROM (SELECT c2.relname AS indexname, idx.*, attr.attname FROM (SELECT *, unnest(i.indkey) AS key, generate_subscripts(i.indkey, 1) AS arridx FROM pg_index i) idx LEFT JOIN pg_class c2 ON idx.indexrelid = c2.oid LEFT JOIN pg_attribute attr ON attr.attnum = idx.key) s GROUP BY indexname
SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))
SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE datname = current_database()
PREPARE getColumnACLs(pg_catalog.oid) AS SELECT at.attname, at.attacl FROM pg_catalog.pg_attribute at WHERE at.attrelid = $1
EXECUTE getColumnACLs('6100')
SELECT last_value, is_called FROM public.sq
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, a FROM ONLY public.t
SELECT t.oid, t.typname, (SELECT e.typarray FROM pg_type e WHERE e.oid = t.typelem) FROM pg_type t WHERE t.typtype IN ('e', 'c', 'r')
SELECT name AS "Column", pg_catalog.format_type(tp, tpm) AS "Type" FROM (VALUES ('?column?', '23'::pg_catalog.oid, -1)) s(name, tp, tpm)
