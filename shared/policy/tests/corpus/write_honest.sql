# What a write grant with both controls must let through.

--- statements
SELECT * FROM t
SELECT app.tax(1), app.effect_of(1), pg_advisory_unlock_all()
BEGIN \then INSERT INTO written VALUES (1) \then ROLLBACK
BEGIN \then INSERT INTO written VALUES ($1, $2) RETURNING * \bind 1 | x \then ROLLBACK
BEGIN \then UPDATE t SET a = 1 WHERE id = $1 \bind 1 \then ROLLBACK
BEGIN \then DELETE FROM u \then ROLLBACK
BEGIN \then TRUNCATE u \then ROLLBACK
BEGIN \then WITH x AS (DELETE FROM u RETURNING *) INSERT INTO written SELECT id FROM x \then ROLLBACK
BEGIN \then INSERT INTO t VALUES (1, 2) ON CONFLICT (id) DO UPDATE SET a = 3 \then ROLLBACK
BEGIN \then SELECT * FROM t FOR UPDATE \then ROLLBACK
BEGIN \then LOCK TABLE t IN EXCLUSIVE MODE \then ROLLBACK
BEGIN; SAVEPOINT a; INSERT INTO written VALUES (1); ROLLBACK TO a; COMMIT
BEGIN READ WRITE; COMMIT
START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ WRITE; ROLLBACK
SET TRANSACTION READ WRITE
SET ROLE NONE
SET client_encoding = 'LATIN1' \then SET client_encoding = 'UTF8'
SET work_mem = '5MB' \then RESET work_mem
SET session_replication_role = DEFAULT \fails
SELECT nextval('s')
SELECT setval('s', 1, false)
SELECT pg_advisory_lock(1) \then SELECT pg_advisory_unlock(1)
SELECT set_config('work_mem', '5MB', false)
SELECT lo_get(4711)
SELECT pg_notify('c', 'x')
NOTIFY c, 'x'
LISTEN c
UNLISTEN *
CALL app.proc() \then SELECT pg_advisory_unlock_all()
PREPARE q AS INSERT INTO written VALUES ($1) \then DEALLOCATE q
PREPARE q AS SELECT 1 \then EXECUTE q \then DEALLOCATE ALL
BEGIN \then DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE \then FETCH c \then UPDATE t SET a = 1 WHERE CURRENT OF c \then ROLLBACK
EXPLAIN ANALYZE SELECT * FROM t
EXPLAIN INSERT INTO written VALUES (1)
ANALYZE t
VACUUM t
SET CONSTRAINTS ALL DEFERRED
SHOW ALL
DISCARD ALL
SELECT 'CREATE TABLE x', "copy" FROM (SELECT 1 AS "copy") "drop table"
SELECT $$ DROP TABLE t; COPY t TO STDOUT $$
VALUES (1), (2)
MERGE INTO written w USING u ON w.id = u.id WHEN MATCHED THEN DO NOTHING \fails
CHECKPOINT \fails
-- CREATE TABLE x
