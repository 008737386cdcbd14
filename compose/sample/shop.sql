-- A small shop: something to look at through PgLens.

create table customers (
    id bigint generated always as identity primary key,
    name text not null,
    email text not null unique,
    country text not null,
    joined_on date not null
);

create table products (
    id bigint generated always as identity primary key,
    name text not null unique,
    category text not null,
    price numeric(10, 2) not null check (price > 0)
);

create table orders (
    id bigint generated always as identity primary key,
    customer_id bigint not null references customers,
    status text not null check (status in ('open', 'paid', 'shipped', 'returned')),
    placed_at timestamptz not null,
    note text
);
create index orders_customer on orders (customer_id);

create table order_items (
    order_id bigint not null references orders,
    product_id bigint not null references products,
    quantity integer not null check (quantity > 0),
    unit_price numeric(10, 2) not null,
    primary key (order_id, product_id)
);

insert into customers (name, email, country, joined_on)
select format('%s %s', first, last), lower(format('%s.%s%s@example.com', first, last, n)), country,
       date '2021-01-01' + (n * 7 % 1700)
from generate_series(1, 500) n
cross join lateral (select
    (array['Ada','Bruno','Chiara','Daan','Elif','Farid','Greta','Hiro','Ines','Jonas','Katya','Liam'])[1 + n % 12] as first,
    (array['Moreau','Novak','Okafor','Petrov','Quispe','Rossi','Sato','Tanaka','Ueda','Virtanen','Weber'])[1 + n % 11] as last,
    (array['DE','FR','IT','NL','PT','SE','JP','US'])[1 + n % 8] as country) made;

insert into products (name, category, price)
select format('%s %s', material, thing), category, 4 + (n * 37 % 180) + 0.90
from generate_series(0, 59) n
cross join lateral (select
    (array['Oak','Steel','Linen','Ceramic','Glass'])[1 + n % 5] as material,
    (array['Lamp','Bowl','Chair','Shelf','Mug','Vase','Tray','Clock','Stool','Box','Frame','Bench'])[1 + n / 5] as thing,
    (array['light','kitchen','living','living','kitchen','decoration'])[1 + n / 5 % 6] as category) made;

insert into orders (customer_id, status, placed_at, note)
select 1 + n * 17 % 500, (array['open','paid','shipped','shipped','returned'])[1 + n * 7 % 5],
       timestamptz '2024-01-01 08:00+00' + n * interval '4 hours 13 minutes',
       case when n % 9 = 0 then 'gift wrap' end
from generate_series(1, 3000) n;

insert into order_items (order_id, product_id, quantity, unit_price)
select o.id, p.id, 1 + (o.id + p.id) % 4, p.price
from orders o
cross join generate_series(1, 3) k
join products p on p.id = 1 + (o.id * 11 + k * 19) % 60;

-- The login for read grants: it cannot write, whatever reaches it.
create role shop_reader login password 'shop-reader' in role pg_read_all_data;

analyze;
