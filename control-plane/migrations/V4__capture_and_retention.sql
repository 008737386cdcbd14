-- What is kept of results, for each database; and for how long, for rows apart from statements.

-- Null: the server's own setting.
alter table databases add column record_max_rows bigint check (record_max_rows > 0);
alter table databases add column record_max_bytes bigint check (record_max_bytes > 0);

-- Whether rows of this session are recorded, as its database had it when the session began.
alter table connections add column record_rows boolean not null default true;

-- Rows may go before their statements do, so each has a key of its own. Rows sealed before this have the statements' key.
alter table data_keys add column purpose text not null default 'statements' check (purpose in ('statements', 'rows'));
alter table data_keys drop constraint data_keys_pkey;
alter table data_keys add primary key (day, purpose);

-- What retention has dropped: everything of the days before these.
create table retention (
    singleton boolean primary key default true check (singleton),
    statements_kept_from date not null,
    rows_kept_from date not null
);
insert into retention (statements_kept_from, rows_kept_from) values ('-infinity', '-infinity');
