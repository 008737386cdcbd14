# What a read grant must let through, in the form of read_attacks.sql. A section's name says where it comes from; it has
# no proof. `\fails` ends a line that PostgreSQL itself refuses in the corpus' database (for want of a table, or because
# it is too old or new), which is not PgLens' doing.


--- queries
SELECT 1
select * from accounts where id = $1 \fails
SELECT a, count(*) FROM t WHERE b > 10 GROUP BY a HAVING count(*) > 1 ORDER BY 2 DESC LIMIT 10 OFFSET 5 \fails
SELECT DISTINCT a FROM t
SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, b DESC
SELECT t.a, u.b FROM t LEFT JOIN u USING (id) NATURAL JOIN v \fails
SELECT * FROM t CROSS JOIN LATERAL (SELECT * FROM u WHERE u.id = t.id LIMIT 1) x
WITH x AS (SELECT 1), y AS MATERIALIZED (SELECT * FROM x) SELECT * FROM y
WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT sum(n) FROM r
WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT 2) CYCLE id SET is_cycle USING path SELECT * FROM r \fails
WITH RECURSIVE r AS (SELECT 1 AS id UNION ALL SELECT 2) SEARCH BREADTH FIRST BY id SET o SELECT * FROM r \fails
VALUES (1, 'a'), (2, 'b')
TABLE t
(SELECT 1) UNION ALL (SELECT 2) INTERSECT SELECT 3 EXCEPT SELECT 4 ORDER BY 1
SELECT CASE WHEN a > 1 THEN 'x' WHEN a IS NULL THEN 'y' ELSE 'z' END FROM t
SELECT COALESCE(a, b), NULLIF(a, b), GREATEST(a, b), LEAST(a, b) FROM t \fails
SELECT ARRAY[1, 2, 3], ARRAY(SELECT a FROM t), (ARRAY[1, 2])[1], (ARRAY[1, 2])[1:2], '{1}'::int[]
SELECT ROW(1, 2), (1, 2) = (3, 4), (c).field, (c).* FROM t \fails
SELECT row_number() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t
SELECT sum(a) OVER w, lag(a) OVER w FROM t WINDOW w AS (ORDER BY b)
SELECT count(*) FILTER (WHERE a > 1), percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t
SELECT a, b, grouping(a) FROM t GROUP BY ROLLUP (a, b)
SELECT a FROM t GROUP BY GROUPING SETS ((a), (b), ())
SELECT * FROM t WHERE a IN (1, 2, 3) AND b BETWEEN 1 AND 2 AND c LIKE 'x%' AND d ILIKE 'y' AND e SIMILAR TO 'z' \fails
SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id) AND a = ANY ($1) AND b <> ALL (SELECT 1) \fails
SELECT * FROM t WHERE a IS DISTINCT FROM b OR (a > 1) IS NOT TRUE OR NOT c \fails
SELECT now(), current_timestamp, current_user, session_user, current_date, localtime(0), clock_timestamp()
SELECT a AT TIME ZONE 'UTC', extract(epoch FROM a), date_trunc('day', a), a + interval '1 day' FROM t \fails
SELECT data->'a'->>'b', data #>> '{a,b}', data @> '{"a": 1}', jsonb_path_query(data, '$.a') FROM t \fails
SELECT json_object('a': 1), json_array(1, 2), json_arrayagg(a), json_objectagg(a: b) FROM t \fails
SELECT json_value('{"a": 1}', '$.a' RETURNING int DEFAULT 0 ON EMPTY), json_exists('{}', '$.a'), '{}' IS JSON \fails
SELECT * FROM json_table('[{"a": 1}]', '$[*]' COLUMNS (id FOR ORDINALITY, a int PATH '$.a', NESTED PATH '$.b' COLUMNS (c text))) \fails
SELECT xmlelement(name a, xmlattributes('x' AS b), 'c'), xmlforest(a, b), xmlparse(document '<a/>') FROM t
SELECT * FROM xmltable('/a/b' PASSING '<a><b/></a>' COLUMNS c text PATH 'c' DEFAULT 'x', n FOR ORDINALITY)
SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(x, n)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS x(a, b)
SELECT * FROM json_to_recordset('[]') AS x(a int, b text COLLATE "C")
SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)
SELECT * FROM t ORDER BY a FETCH FIRST 5 ROWS WITH TIES
SELECT substring('abc' FROM 2 FOR 1), position('a' IN 'b'), trim(both 'x' FROM 'y'), overlay('a' PLACING 'b' FROM 1)
SELECT E'a\'b', $$dollar$$, U&'\0041', B'101', X'1F', 1e5, .5, 0x1F \fails
SELECT to_tsvector('english', a) @@ to_tsquery('b') FROM t \fails
SELECT format('%I.%s', 'a', 'b'), quote_ident('x'), md5('x'), random(), gen_random_uuid(), pg_sleep(0.1)
SELECT a COLLATE "de_DE", b::varchar(10), c::numeric(10, 2), d::timestamp(3) with time zone FROM ONLY t \fails
SELECT lo_get(1), currval('s'), lastval(), pg_size_pretty(pg_total_relation_size('t')) \fails
SELECT has_table_privilege('t', 'SELECT'), pg_backend_pid(), version(), inet_client_addr(), txid_current_if_assigned()
SELECT 1; SELECT 2; SELECT 3
;
-- only a comment
/* SELECT ; */ SELECT 1 -- DROP TABLE t
SELECT 'DROP TABLE t; DELETE FROM t', "delete", $x$ INSERT INTO t $x$ FROM "insert into" \fails
SELECT nextval FROM sequences \fails
SELECT ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery)
SELECT r.http_status, l.lo_revenue, m.master_id, (r.c).http_method FROM r, l, m \fails
SELECT t.schedule, t.name, t.role, t.lock FROM t \fails

--- statements round queries
SHOW ALL
SHOW transaction_isolation
SHOW TIME ZONE
EXPLAIN SELECT * FROM t
EXPLAIN (ANALYZE, VERBOSE, BUFFERS, FORMAT JSON) SELECT * FROM t
EXPLAIN ANALYZE EXECUTE p(1, 'a') \fails
EXPLAIN DECLARE c CURSOR FOR SELECT 1
COPY t TO STDOUT
COPY t (a, b) TO STDOUT WITH (FORMAT csv, HEADER, FORCE_QUOTE (a), DELIMITER ';')
COPY (SELECT * FROM t WHERE a > 1) TO STDOUT CSV HEADER
COPY BINARY t TO STDOUT
DECLARE c CURSOR FOR SELECT * FROM t \fails
DECLARE c BINARY SCROLL CURSOR WITH HOLD FOR VALUES (1)
FETCH 100 FROM c \fails
FETCH BACKWARD ALL IN c \fails
MOVE FORWARD 10 IN c \fails
CLOSE c \fails
CLOSE ALL
PREPARE p (int, text) AS SELECT * FROM t WHERE a = $1 AND b = $2
EXECUTE p(1, 'a' || 'b') \fails
DEALLOCATE p \fails
DEALLOCATE ALL
LOCK TABLE public.t IN ACCESS SHARE MODE \fails
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
COMMIT AND CHAIN \fails
END
ROLLBACK
ROLLBACK AND NO CHAIN
ABORT
SAVEPOINT s \fails
RELEASE SAVEPOINT s \fails
ROLLBACK TO SAVEPOINT s \fails
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
SET TRANSACTION SNAPSHOT '00000003-0000001B-1' \fails
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
SELECT set_config('jit', $1, false) \fails
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
EXECUTE getColumnACLs('6100') \fails
SELECT last_value, is_called FROM public.sq \fails
DECLARE _pg_dump_cursor CURSOR FOR SELECT id, a FROM ONLY public.t \fails
SELECT t.oid, t.typname, (SELECT e.typarray FROM pg_type e WHERE e.oid = t.typelem) FROM pg_type t WHERE t.typtype IN ('e', 'c', 'r')
SELECT name AS "Column", pg_catalog.format_type(tp, tpm) AS "Type" FROM (VALUES ('?column?', '23'::pg_catalog.oid, -1)) s(name, tp, tpm)

--- functions, operators and types of the database's owner
SELECT app.tax(100), app.total(3)
SELECT app.full_name(a) FROM accounts a
SELECT a.name, a.kind, a.data FROM accounts a
SELECT t.a, t.b, t.id, t.c[1] FROM t
SELECT * FROM app.recent(), app.recent(2) \fails
SELECT app.recent(n => 1)
SELECT app.product(a) FROM t
SELECT app.product(DISTINCT a) OVER () FROM t \fails
SELECT 1 OPERATOR(app.~~~) 2
SET search_path = app, public \then SELECT 1 ~~~ 2, tax(5)
SELECT app.coupon()
SELECT 'happy'::mood, 'sad'::public.mood < 'ok'
SELECT 5::positive, CAST('7' AS public.positive)
SELECT $1::positive \bind 5
SELECT pg_catalog.abs(-5), pg_catalog.abs(a) FROM t
SELECT 'a=>1'::hstore -> 'a', hstore('a', 'b'), 'X'::citext = 'x'
SELECT similarity('abc', 'abd'), show_limit(), 'abc' % 'abd'
SELECT digest('x', 'sha256'), crypt('x', 'y'), gen_random_bytes(4), gen_salt('md5'), gen_random_uuid() \fails
SELECT count(*) FROM pg_stat_statements \fails

--- cursors and prepared statements
BEGIN \then DECLARE c CURSOR FOR SELECT * FROM t \then FETCH 2 FROM c \then MOVE 1 FROM c \then CLOSE c \then COMMIT
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM t \then FETCH ALL c \then CLOSE c
PREPARE q (int) AS SELECT * FROM t WHERE id = $1 \then EXECUTE q(1) \then EXPLAIN ANALYZE EXECUTE q(2) \then DEALLOCATE q
PREPARE q AS VALUES (1) \then EXECUTE q \then DEALLOCATE ALL
BEGIN READ ONLY \then SAVEPOINT a \then SELECT 1/0 \then ROLLBACK TO a \then RELEASE a \then COMMIT \fails
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY \then SELECT pg_export_snapshot() \then COMMIT
SELECT * FROM t WHERE id = $1 AND b LIKE $2 \bind 1 | row%
SELECT $1::int + $2::int, $3::text || 'x' \bind 1 | 2 | y
SELECT * FROM t WHERE id = ANY ($1::int[]) \bind {1,2}
SHOW server_version \bind
SELECT 1 AS one LIMIT $1 \bind 5

--- psql
SELECT n.nspname as "Schema", c.relname as "Name", CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' END as "Type", pg_catalog.pg_get_userbyid(c.relowner) as "Owner" FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2
SELECT c.relchecks, c.relkind, c.relhasindex, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.relforcerowsecurity, false AS relhasoids, c.relispartition, '', c.reltablespace, CASE WHEN c.reloftype = 0 THEN '' ELSE c.reloftype::pg_catalog.regtype::pg_catalog.text END, c.relpersistence, c.relreplident, am.amname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_class tc ON (c.reltoastrelid = tc.oid) LEFT JOIN pg_catalog.pg_am am ON (c.relam = am.oid) WHERE c.oid = 't'::regclass
SELECT c2.relname, i.indisprimary, i.indisunique, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), pg_catalog.pg_get_constraintdef(con.oid, true), contype FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x')) WHERE c.oid = 't'::regclass AND c.oid = i.indrelid AND i.indexrelid = c2.oid
SELECT r.conname, pg_catalog.pg_get_constraintdef(r.oid, true), conrelid::pg_catalog.regclass AS ontable FROM pg_catalog.pg_constraint r WHERE r.conrelid = 't'::regclass
SELECT pol.polname, pol.polpermissive, CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(array(select rolname from pg_catalog.pg_roles where oid = any (pol.polroles) order by 1),',') END, pg_catalog.pg_get_expr(pol.polqual, pol.polrelid) FROM pg_catalog.pg_policy pol
SELECT oid, stxrelid::pg_catalog.regclass, stxnamespace::pg_catalog.regnamespace::pg_catalog.text AS nsp, stxname, pg_catalog.pg_get_statisticsobjdef_columns(oid) AS columns FROM pg_catalog.pg_statistic_ext
SELECT pubname FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr ON p.oid = pr.prpubid WHERE pr.prrelid = 't'::regclass
SELECT p.proname as "Name", pg_catalog.pg_get_function_result(p.oid) as "Result", pg_catalog.pg_get_function_arguments(p.oid) as "Arguments", CASE p.prokind WHEN 'a' THEN 'agg' ELSE 'func' END, pg_catalog.obj_description(p.oid, 'pg_proc') FROM pg_catalog.pg_proc p WHERE pg_catalog.pg_function_is_visible(p.oid) AND p.proname OPERATOR(pg_catalog.~) '^(tax)$' COLLATE pg_catalog.default
SELECT pg_catalog.pg_get_functiondef('app.tax(numeric)'::regprocedure)
SELECT r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolconnlimit, r.rolvaliduntil, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid) WHERE m.member = r.oid) as memberof FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1
SELECT d.datname, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding), CASE WHEN pg_catalog.has_database_privilege(d.datname, 'CONNECT') THEN pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(d.datname)) END FROM pg_catalog.pg_database d
SELECT e.extname, e.extversion, n.nspname, c.description FROM pg_catalog.pg_extension e LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace LEFT JOIN pg_catalog.pg_description c ON c.objoid = e.oid AND c.classoid = 'pg_catalog.pg_extension'::pg_catalog.regclass
SELECT pg_catalog.pg_get_viewdef('shown'::regclass, true)
SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE (pg_catalog.substring(pg_catalog.quote_ident(c.relname),1,1)='t') AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000
SELECT inhparent::pg_catalog.regclass, pg_catalog.pg_get_expr(c.relpartbound, c.oid), inhdetachpending FROM pg_catalog.pg_class c JOIN pg_catalog.pg_inherits i ON c.oid = inhrelid
SELECT * FROM pg_catalog.pg_sequences; SELECT seqtypid::regtype, seqstart FROM pg_sequence
SELECT name, setting, unit, source FROM pg_catalog.pg_settings WHERE source <> 'default'

--- pg_dump
SET DATESTYLE = ISO; SET INTERVALSTYLE = POSTGRES; SET extra_float_digits TO 3; SET synchronize_seqscans TO off; SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET row_security = off
BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'; COMMIT
BEGIN; LOCK TABLE public.t, public.u IN ACCESS SHARE MODE; COMMIT
SELECT pg_catalog.set_config('search_path', '', false); SELECT pg_catalog.pg_is_in_recovery()
COPY public.t (id, a, b) TO stdout;
SELECT pg_catalog.pg_get_ruledef(oid), pg_catalog.pg_get_triggerdef(0), pg_catalog.pg_get_partkeydef('parted'::regclass), pg_catalog.acldefault('r', 10) FROM pg_rewrite LIMIT 1
SELECT pg_catalog.format_type(t.oid, NULL), t.typnotnull, pg_catalog.pg_get_expr(t.typdefaultbin, 'pg_catalog.pg_type'::pg_catalog.regclass) FROM pg_catalog.pg_type t WHERE t.typname = 'mood'
SELECT seqtypid, pg_catalog.pg_sequence_last_value(seqrelid) FROM pg_sequence; SELECT last_value, is_called FROM public.s
SELECT l.oid, lo.lomowner FROM pg_largeobject_metadata lo JOIN (VALUES (4711::oid)) l(oid) ON l.oid = lo.oid

--- drivers and pools
\startup application_name=pgjdbc \then SET extra_float_digits = 3 \then SHOW TRANSACTION ISOLATION LEVEL
\startup DateStyle=ISO \then SELECT current_database()
\startup client_encoding=UTF8 \then SELECT 1
\startup client_encoding='utf-8' \then SELECT 1
\startup extra_float_digits=2 \then SELECT 1.5::float8
\startup TimeZone=Europe/Berlin \then SELECT now()
\startup search_path=app,public \then SELECT tax(1)
\startup options=-c search_path=app,public -c statement_timeout=60s \then SHOW search_path
\startup options=-c geqo=off --jit=off \then SHOW jit
\startup default_transaction_read_only=on \then SHOW transaction_read_only
\startup options=-c default_transaction_isolation=serializable \then SHOW transaction_isolation
\startup standard_conforming_strings=on \then SELECT 'a\b'
\startup replication=false \then SELECT 1
SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL
DISCARD ALL
RESET ALL
DISCARD PLANS; DISCARD SEQUENCES; DISCARD TEMP
UNLISTEN *
LISTEN changes
SELECT 1 AS ping
-- ping
SELECT version(), current_schema(), current_setting('server_version_num')
SET application_name = 'PostgreSQL JDBC Driver'
SELECT t.oid, t.typname, t.typtype, t.typelem, t.typbasetype FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.typname = $1 \bind hstore
SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, typ.typelem AS elemtypoid, elemproc.proname = 'array_recv' AS is_array FROM pg_type AS typ LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid) LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive LEFT JOIN pg_type AS elemtyp ON elemtyp.oid = typ.typelem LEFT JOIN pg_proc AS elemproc ON elemproc.oid = elemtyp.typreceive) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace) WHERE t.typtype IN ('b', 'r', 'm', 'e', 'd')
SELECT typ.oid, att.attname, att.atttypid FROM pg_type AS typ JOIN pg_namespace AS ns ON (ns.oid = typ.typnamespace) JOIN pg_class AS cls ON (cls.oid = typ.typrelid) JOIN pg_attribute AS att ON (att.attrelid = typ.typrelid) WHERE (typ.typtype = 'c' AND cls.relkind = 'c') AND attnum > 0 AND NOT attisdropped ORDER BY typ.oid, att.attnum
SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter FROM pg_type t WHERE t.oid = to_regtype($1) \bind hstore
SELECT set_config('search_path', $1, false) \bind public
SELECT current_schemas(false), current_user, session_user, user
BEGIN \then SET LOCAL statement_timeout = '5s' \then SELECT 1 \then ROLLBACK
SELECT pg_backend_pid(), pg_postmaster_start_time(), pg_is_in_recovery(), inet_server_port()
SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\_%' ORDER BY nspname

--- SQLAlchemy, Django and other introspection
select pg_catalog.version()
SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1, CAST('test unicode returns' AS VARCHAR(60)) AS anon_2
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p']) AND pg_catalog.pg_class.relpersistence != 't' AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'
SELECT a.attname AS name, pg_catalog.format_type(a.atttypid, a.atttypmod) AS format_type, (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef) AS "default", a.attidentity, (SELECT json_build_object('always', a.attidentity = 'a', 'start', s.seqstart) FROM pg_catalog.pg_sequence s WHERE s.seqrelid = CAST(CAST(pg_catalog.pg_get_serial_sequence('public.t', 'id') AS REGCLASS) AS OID)) AS identity_options, pgd.description FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_description pgd ON (pgd.objoid = a.attrelid AND pgd.objsubid = a.attnum) WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SELECT conname, contype, array_agg(attr.attname ORDER BY con.ord) FROM (SELECT con.conrelid, con.conname, con.contype, unnest(con.conkey) AS attnum, generate_subscripts(con.conkey, 1) AS ord FROM pg_catalog.pg_constraint con) AS con JOIN pg_catalog.pg_attribute attr ON attr.attrelid = con.conrelid AND attr.attnum = con.attnum GROUP BY 1, 2
SELECT t.typname as name, pg_catalog.pg_type_is_visible(t.oid) as visible, n.nspname, array_agg(CAST(e.enumlabel AS TEXT) ORDER BY e.enumsortorder) as labels FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_enum e ON t.oid = e.enumtypid WHERE t.typtype = 'e' GROUP BY 1, 2, 3
SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)
SELECT a.attname AS column_name, NOT (a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)) AS is_nullable, pg_get_expr(ad.adbin, ad.adrelid) AS column_default, CASE WHEN collname = 'default' THEN NULL ELSE collname END AS collation, a.attidentity != '' AS is_autofield, col_description(a.attrelid, a.attnum) AS column_comment FROM pg_attribute a LEFT JOIN pg_attrdef ad ON a.attrelid = ad.adrelid AND a.attnum = ad.adnum LEFT JOIN pg_collation co ON a.attcollation = co.oid JOIN pg_type t ON a.atttypid = t.oid JOIN pg_class c ON a.attrelid = c.oid JOIN pg_namespace n ON c.relnamespace = n.oid WHERE c.relname = 't' AND a.attnum > 0
SELECT c.conname, array(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY cols(colid, arridx) JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = c.conrelid ORDER BY cols.arridx), c.contype FROM pg_constraint AS c JOIN pg_class AS cl ON c.conrelid = cl.oid WHERE cl.relname = 't'
SELECT s.relname AS sequence_name, a.attname AS colname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass JOIN pg_attribute a ON d.refobjid = a.attrelid AND d.refobjsubid = a.attnum WHERE s.relkind = 'S'
SELECT i.relname as relname, ix.indisunique, ix.indexprs, a.attname, a.attnum, c.conrelid, ix.indkey::varchar, ix.indoption::varchar, i.reloptions, am.amname, pg_get_expr(ix.indpred, ix.indrelid), ix.indnkeyatts as indnkeyatts FROM pg_class t join pg_index ix on t.oid = ix.indrelid join pg_class i on i.oid = ix.indexrelid left outer join pg_attribute a on t.oid = a.attrelid and a.attnum = ANY(ix.indkey) left outer join pg_constraint c on (ix.indrelid = c.conrelid and ix.indexrelid = c.conindid) left outer join pg_am am on i.relam = am.oid WHERE t.relkind IN ('r', 'v', 'f', 'm', 'p') and t.relname = 't'
SELECT table_schema, table_name, column_name, ordinal_position, column_default, is_nullable, data_type, character_maximum_length, udt_name FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 4
SELECT tc.constraint_name, kcu.column_name, ccu.table_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_schema, constraint_name) JOIN information_schema.constraint_column_usage ccu USING (constraint_schema, constraint_name) WHERE tc.constraint_type = 'FOREIGN KEY'
SELECT * FROM information_schema.routines LIMIT 1; SELECT * FROM information_schema.views LIMIT 1; SELECT * FROM information_schema.triggers LIMIT 1
SELECT "auth_user"."id" AS "id" FROM "auth_user" WHERE "auth_user"."username" = 'x' LIMIT 21 \fails
SELECT (1) AS "a" FROM "accounts" WHERE "accounts"."id" = 1 LIMIT 1
SELECT COUNT(*) FROM (SELECT "accounts"."id" AS "col1" FROM "accounts" GROUP BY 1) subquery
SELECT DATE_TRUNC('month', "accounts"."created" AT TIME ZONE 'UTC') AS "month", COUNT("accounts"."id") AS "n" FROM "accounts" GROUP BY 1 ORDER BY 1
SELECT "public"."accounts"."kind" AS "kind", count(*) AS "count" FROM "public"."accounts" WHERE ("public"."accounts"."created" >= CAST((NOW() + (INTERVAL '-30 day')) AS date)) GROUP BY "public"."accounts"."kind" ORDER BY "count" DESC

--- GUI and BI tools
SELECT n.oid, n.nspname, pg_get_userbyid(n.nspowner), array_to_string(n.nspacl::text[], ', '), shobj_description(n.oid, 'pg_namespace') FROM pg_namespace n
SELECT db.oid AS did, db.datname AS name, ta.spcname, db.datallowconn, pg_catalog.has_database_privilege(db.oid, 'CREATE') AS cancreate, datdba AS owner, pg_encoding_to_char(db.encoding) FROM pg_catalog.pg_database db LEFT OUTER JOIN pg_catalog.pg_tablespace ta ON db.dattablespace = ta.oid WHERE db.oid > 0
SELECT roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser, CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END as can_create_role, CASE WHEN pg_catalog.pg_has_role(roles.oid, 'MEMBER') THEN true ELSE false END FROM pg_catalog.pg_roles as roles WHERE rolname = current_user
SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM pg_settings WHERE name = 'bytea_output'; SET client_encoding='UTF8'
SELECT rel.oid, rel.relname AS name, (SELECT count(*) FROM pg_catalog.pg_trigger WHERE tgrelid=rel.oid AND tgisinternal = FALSE) AS triggercount, has_table_privilege(rel.oid, 'SELECT'), rel.reltuples::bigint FROM pg_catalog.pg_class rel WHERE rel.relkind IN ('r','s','t','p') ORDER BY rel.relname
SELECT pg_catalog.pg_total_relation_size('t'), pg_catalog.pg_relation_size('t'), pg_catalog.pg_indexes_size('t'), pg_table_size('t')
SELECT s.*, pg_catalog.pg_blocking_pids(pid) FROM pg_catalog.pg_stat_activity s WHERE datname = current_database()
SELECT locktype, mode, granted, pid FROM pg_catalog.pg_locks
SELECT (SELECT sum(xact_commit) FROM pg_catalog.pg_stat_database) AS commits, (SELECT count(*) FROM pg_stat_activity) AS sessions
SELECT relname, n_live_tup, n_dead_tup, last_autovacuum, seq_scan, idx_scan FROM pg_stat_user_tables
SELECT * FROM pg_stat_bgwriter; SELECT * FROM pg_stat_replication; SELECT * FROM pg_replication_slots
SELECT pg_current_wal_lsn(), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), pg_last_xact_replay_timestamp(), txid_current_snapshot()
EXPLAIN (ANALYZE, COSTS, VERBOSE, BUFFERS, FORMAT JSON) SELECT * FROM t JOIN u USING (id)
EXPLAIN (SETTINGS, WAL, ANALYZE) SELECT count(*) FROM accounts
select current_database() as a, current_schemas(false) as b; select round(extract(epoch from pg_postmaster_start_time() at time zone 'UTC')) as startup_time
select L.transactionid::varchar::bigint as transaction_id from pg_catalog.pg_locks L where L.transactionid is not null order by pg_catalog.age(L.transactionid) desc limit 1
select case when pg_catalog.pg_is_in_recovery() then null else pg_catalog.txid_current_if_assigned()::varchar end as current_txid
select N.oid::bigint as id, N.xmin as state_number, nspname as name, D.description, pg_catalog.pg_get_userbyid(N.nspowner) as "owner" from pg_catalog.pg_namespace N left join pg_catalog.pg_description D on N.oid = D.objoid order by case when nspname = pg_catalog.current_schema() then -1::bigint else N.oid::bigint end
select T.oid as table_id, T.relkind, T.relname, translate(array_to_string(T.relacl, ','), E'\r\n\t', ' ') from pg_catalog.pg_class T where relnamespace = 'public'::regnamespace::oid and pg_catalog.age(T.xmin) <= coalesce(nullif(greatest(pg_catalog.age('1'::varchar::xid), -1), -1), 2147483647)
SELECT * FROM (SELECT current_catalog AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM TABLE' ELSE 'TABLE' END AS TABLE_TYPE, d.description AS REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid) x ORDER BY TABLE_TYPE, TABLE_SCHEM
SELECT result.TABLE_CAT, (result.KEYS).n AS KEY_SEQ, information_schema._pg_expandarray(ARRAY[1]) FROM (SELECT 'x' AS TABLE_CAT, information_schema._pg_expandarray(i.indkey) AS KEYS FROM pg_catalog.pg_index i) result
SELECT CAST(SUM("accounts"."id") AS BIGINT) AS "sum", (CAST(TRUNC(EXTRACT(YEAR FROM "accounts"."created")) AS INTEGER)) AS "yr" FROM "public"."accounts" "accounts" GROUP BY 2 HAVING (COUNT(1) > 0)
SELECT 1 AS "Number of Records", "t"."b" AS "b" FROM "public"."t" "t" LIMIT 1000
SELECT to_char(created, 'YYYY-MM') AS m, percentile_disc(0.9) WITHIN GROUP (ORDER BY id), mode() WITHIN GROUP (ORDER BY kind) FROM accounts GROUP BY 1
SELECT jsonb_pretty(data), data->>'a', jsonb_object_keys(data), jsonb_array_length('[]'), jsonb('{}') FROM accounts
SELECT regexp_replace(name, '\d', 'x', 'g'), string_to_array(name, ' '), unnest(c), lag(id) OVER (ORDER BY id) FROM accounts JOIN t USING (id)
SELECT date('2024-01-01'), timestamptz('2024-01-01'), int4('5'), text(5), 'x'::text::varchar(3), float8 '1.5', interval '1 day'
SELECT generate_series(now(), now() + interval '1 day', interval '1 hour'), make_date(2024, 1, 1), age(now())
SELECT row_to_json(t), to_jsonb(t), json_agg(t), array_agg(t) FROM t GROUP BY t.*
SELECT width_bucket(a, 0, 10, 5), ntile(4) OVER (ORDER BY a), stddev(a) OVER (), corr(a, id) OVER () FROM t
