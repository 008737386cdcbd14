# What the controls of a write grant must stop; the form is that of read_attacks.sql. The grant has the control that the
# section names.

--- control.block_copy
COPY t TO STDOUT
COPY t (id, a) TO STDOUT WITH (FORMAT csv)
COPY (SELECT * FROM t) TO STDOUT
COPY (VALUES (1)) TO STDOUT
COPY (DELETE FROM u RETURNING *) TO STDOUT
COPY BINARY t TO STDOUT
copy/**/t to stdout
SELECT 1; COPY t TO STDOUT
BEGIN; COPY t TO STDOUT; COMMIT
COPY written FROM PROGRAM 'echo 1'
COPY t TO '/tmp/pglens-corpus'
COPY (SELECT 1) TO PROGRAM 'cat >/dev/null'
DO $$ BEGIN COPY written FROM PROGRAM 'echo 1'; END $$
DO $$ BEGIN EXECUTE 'copy written from program ''echo 1'''; END $$
! waits for data of the client
COPY written FROM STDIN
COPY written (id) FROM STDIN WITH (FORMAT csv)

--- control.block_ddl
CREATE TABLE made (a int)
CREATE TEMP TABLE made (a int); INSERT INTO written VALUES (1)
CREATE TABLE made AS SELECT 1 AS a
SELECT 1 AS a INTO made
WITH x AS (SELECT 1 AS a) SELECT * INTO made FROM x
EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1
EXPLAIN ANALYZE SELECT 1 AS a INTO made
CREATE VIEW made AS SELECT 1
CREATE MATERIALIZED VIEW made AS SELECT 1
EXPLAIN ANALYZE CREATE MATERIALIZED VIEW made AS SELECT 1
CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE INDEX made ON t (b)
CREATE SCHEMA made
CREATE SEQUENCE made
CREATE TYPE made AS ENUM ('a')
CREATE TRIGGER made BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE RULE made AS ON INSERT TO t DO ALSO NOTIFY x
CREATE POLICY made ON t USING (true)
CREATE ROLE made
ALTER TABLE t ADD COLUMN d int
ALTER TABLE t RENAME TO renamed
ALTER SYSTEM SET work_mem = '5MB'
ALTER ROLE bystander SUPERUSER
ALTER FUNCTION app.effect() STABLE
ALTER SEQUENCE s RESTART WITH 50
DROP TABLE u
DROP OWNED BY plain_owner CASCADE
GRANT ALL ON t TO PUBLIC
REVOKE ALL ON FUNCTION app.tax(numeric) FROM PUBLIC
COMMENT ON TABLE t IS 'x'
REFRESH MATERIALIZED VIEW m
REINDEX TABLE t
INSERT INTO written VALUES (1); DROP TABLE u
BEGIN \then CREATE TABLE made (a int) \then COMMIT
DO $$ BEGIN CREATE TABLE made (a int); END $$
DO $$ BEGIN EXECUTE 'create ' || 'table made (a int)'; END $$
CREATE EXTENSION intarray
\call lo_creat -1
! PostgreSQL refuses it in the transaction that would show it, or for want of something
CREATE DATABASE made
DROP DATABASE nowhere
CLUSTER t
PREPARE q AS CREATE TABLE made (a int)
ALTER TABLE t
NONSENSE
