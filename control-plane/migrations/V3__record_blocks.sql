-- What a statement costs at rest: results of a few rows share a block, columns are kept compactly, and nothing that is
-- sealed is tried for compression again.

-- The row of query_rows, by its id, that holds this statement's rows together with those of others; null: they have rows
-- of their own there, or there are none.
alter table queries add column rows_block uuid;

-- The result's columns as a protobuf message (StatementEnded with its columns); earlier records have them in `columns`.
alter table queries add column result_columns bytea;

-- Ciphertext does not compress.
alter table queries alter column parameters_sealed set storage external;
alter table query_rows alter column data_sealed set storage external;

-- Counters of running sessions change with every batch: room for the new version on the same page.
alter table connections set (fillfactor = 70);
alter table proxy_runs set (fillfactor = 50);
