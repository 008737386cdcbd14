-- Records that somebody waits for, as they came, until they are stored with others: one statement makes them durable. What is
-- here and not behind the run's committed_sequence is stored already.
create table record_journal (
    run_id uuid not null,
    first_sequence bigint not null,
    last_sequence bigint not null check (last_sequence >= first_sequence),
    -- Day of the key; rows and parameters are among the records.
    key_day date not null,
    records_sealed bytea not null,
    primary key (run_id, first_sequence)
) with (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000);
-- Packed before it is encrypted: there is nothing left to compress.
alter table record_journal alter column records_sealed set storage external;
