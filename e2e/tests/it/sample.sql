create table customers (
    id integer primary key,
    name text not null,
    note text,
    joined date not null default '2024-02-29'
);
create index customers_name on customers (name);
comment on table customers is 'Käuferinnen — 顧客';

create table orders (
    id bigint generated always as identity primary key,
    customer_id integer not null references customers,
    total numeric(10, 2) not null check (total >= 0),
    placed_at timestamptz not null default '2024-03-01 12:00:00+00'
);
create view large_orders as select * from orders where total > 90;
create sequence counter;
create table written (id integer, word text);

insert into customers (id, name, note)
select n, 'customer ' || n, case when n % 3 = 0 then null else 'note ' || n end from generate_series(1, 500) n;
update customers set name = 'Zoë Ünlü 😀', note = e'tab\there, line\nbreak, quote '' and backslash \\' where id = 2;
insert into orders (customer_id, total) select 1 + n % 500, (n % 10000) / 100.0 from generate_series(1, 5000) n;
create function doubled(n integer) returns integer language sql immutable as 'select n * 2';
analyze;
