create table item (id integer primary key, word text not null, price numeric(10, 2) check (price >= 0), made timestamptz);
insert into item select n, 'word ' || n, n * 1.25, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 hour' from generate_series(1, 1000) n;
create table kept (id integer primary key, item integer references item deferrable initially deferred, note text unique);
insert into kept values (1, 1, 'first'), (2, 2, 'second');
create domain positive as integer constraint must_be_positive check (value > 0);
create type mood as enum ('sad', 'ok', 'happy');
create type pair as (left_one integer, "right one" text);
create table odd ("a b" integer, "A" text, "a ""quoted""" mood, pairs pair[]);
insert into odd values (1, 'x', 'ok', array[row(1, 'one'), row(2, null)]::pair[]);
create view item_view as select id, word from item where id <= 10;
create function noisy(n integer) returns integer language plpgsql as $$
begin
  raise notice 'heard %', n using detail = 'a detail', hint = 'a hint';
  raise warning 'warned';
  return n;
end $$;
create function failing(n integer) returns integer language plpgsql as $$
begin
  raise exception 'failed with %', n using errcode = 'P0042', detail = 'why', hint = 'do not', column = 'c', constraint = 'k', datatype = 'd', table = 't', schema = 's';
end $$;
create procedure committing() language plpgsql as $$
begin
  insert into kept values (100, 1, 'committed by a procedure');
  commit;
  delete from kept where id = 100;
  commit;
end $$;
create function numbers(n integer) returns setof integer language sql as $$ select generate_series(1, n) $$;
