-- The sample target database: a small shop. Runs once, in one transaction, as the owner of the database.
-- Every value follows from row numbers, so that each machine has the same rows and documents can quote them.

create type order_status as enum ('pending', 'paid', 'shipped', 'delivered', 'returned', 'cancelled');

create table customers (
    id          bigint generated always as identity primary key,
    full_name   text not null,
    email       text not null unique,
    country     char(2) not null,
    city        text not null,
    phone       text,
    newsletter  boolean not null default false,
    created_at  timestamptz not null
);

create table products (
    id          bigint generated always as identity primary key,
    sku         text not null unique,
    name        text not null,
    category    text not null,
    price       numeric(10, 2) not null check (price > 0),
    weight_g    integer,
    tags        text[] not null default '{}',
    active      boolean not null default true
);

create table orders (
    id           bigint generated always as identity primary key,
    customer_id  bigint not null references customers,
    status       order_status not null,
    placed_at    timestamptz not null,
    shipped_at   timestamptz,
    total        numeric(12, 2) not null default 0,
    note         text
);

create table order_items (
    order_id    bigint not null references orders on delete cascade,
    line        smallint not null,
    product_id  bigint not null references products,
    quantity    integer not null check (quantity > 0),
    unit_price  numeric(10, 2) not null,
    primary key (order_id, line)
);

create table events (
    id           bigint generated always as identity primary key,
    customer_id  bigint references customers,
    kind         text not null,
    happened_at  timestamptz not null,
    payload      jsonb not null
);

-- 400 customers: first and last names cycle with periods that share no factor, so that pairs rarely repeat.
insert into customers (full_name, email, country, city, phone, newsletter, created_at)
select first || ' ' || last,
       lower(translate(first || '.' || last, 'áéíóöüñç', 'aeioounc')) || i || '@example.com',
       (array['DE', 'FR', 'ES', 'US', 'GB', 'IT', 'PL', 'BR'])[1 + place],
       (array['Hamburg', 'Lyon', 'Valencia', 'Portland', 'Leeds', 'Turin', 'Gdansk', 'Recife'])[1 + place],
       case when i % 5 <> 0 then '+' || 10 + place || ' 555 ' || lpad((i * 7919 % 1000000)::text, 6, '0') end,
       i % 3 = 0,
       timestamptz '2022-06-01 08:00:00+00' + i * interval '1 day 7 hours 13 minutes'
from (
    select i,
           (array['Anna', 'Ben', 'Chloé', 'Daniel', 'Elena', 'Finn', 'Grace', 'Hugo', 'Inés', 'Jonas', 'Karin',
                  'Luca', 'Maya', 'Noah', 'Olga', 'Pedro', 'Quinn', 'Rosa', 'Sofía', 'Tom', 'Uma', 'Víctor',
                  'Wanda'])[1 + i % 23] as first,
           (array['Schmidt', 'Martin', 'García', 'Johnson', 'Taylor', 'Rossi', 'Nowak', 'Silva', 'Müller',
                  'Dubois', 'López', 'Brown', 'Wilson', 'Bianchi', 'Kowalski', 'Souza', 'Weber', 'Moreau',
                  'Núñez'])[1 + i % 19] as last,
           (i * 5 + i / 7) % 8 as place
    from generate_series(1, 400) as i
) as people;

-- 120 products in eight categories.
insert into products (sku, name, category, price, weight_g, tags, active)
select upper(left(category, 3)) || '-' || lpad(i::text, 4, '0'),
       (array['Classic', 'Compact', 'Travel', 'Studio', 'Everyday'])[1 + i % 5] || ' ' ||
       (array['Notebook', 'Backpack', 'Lamp', 'Mug', 'Headphones', 'Blanket', 'Bottle', 'Chair'])[1 + i % 8],
       category,
       (4 + i * 37 % 190 + 0.01 * (i * 13 % 100))::numeric(10, 2),
       case when i % 11 <> 0 then 80 + i * 53 % 4000 end,
       array_remove(array[
           case when i % 4 = 0 then 'new' end,
           case when i % 6 = 0 then 'sale' end,
           case when i % 9 = 0 then 'gift' end], null),
       i % 17 <> 0
from (
    select i, (array['stationery', 'bags', 'lighting', 'kitchen', 'audio', 'home', 'outdoor', 'furniture'])[1 + i % 8]
              as category
    from generate_series(1, 120) as i
) as goods;

-- 1500 orders over two years; the older an order, the further it has come.
insert into orders (customer_id, status, placed_at, shipped_at, note)
select 1 + i * 131 % 400,
       status,
       placed_at,
       case when status in ('shipped', 'delivered', 'returned')
            then placed_at + (6 + i % 60) * interval '1 hour' end,
       case i % 40 when 0 then 'Leave with the neighbour' when 17 then 'Gift, no invoice please' end
from (
    select i,
           timestamptz '2024-02-01 09:00:00+00' + i * interval '11 hours 17 minutes' as placed_at,
           case when i % 23 = 0 then 'cancelled'
                when i % 31 = 0 then 'returned'
                when i <= 1380 then 'delivered'
                when i <= 1440 then 'shipped'
                when i <= 1480 then 'paid'
                else 'pending' end::order_status as status
    from generate_series(1, 1500) as i
) as placed;

-- One to four lines an order.
insert into order_items (order_id, line, product_id, quantity, unit_price)
select o.id, line, p.id, 1 + (o.id + line) % 3, p.price
from orders as o
cross join lateral generate_series(1, 1 + (o.id * 7 % 4)::integer) as line
join products as p on p.id = 1 + (o.id * 17 + line * 29) % 120;

update orders
set total = (select sum(quantity * unit_price) from order_items where order_id = orders.id);

-- 3000 events of the web shop.
insert into events (customer_id, kind, happened_at, payload)
select case when i % 6 <> 0 then 1 + i * 89 % 400 end,
       kind,
       timestamptz '2026-01-01 00:00:00+00' + i * interval '7 minutes 3 seconds',
       case kind
           when 'search' then jsonb_build_object('terms', (array['lamp', 'blue mug', 'gift', 'chair'])[1 + i % 4],
                                                 'results', i % 48)
           when 'login' then jsonb_build_object('method', (array['password', 'link', 'passkey'])[1 + i % 3])
           else jsonb_build_object('product_id', 1 + i * 17 % 120, 'device',
                                   (array['phone', 'desktop', 'tablet'])[1 + i % 3])
       end
from (
    select i, (array['page_view', 'page_view', 'search', 'add_to_cart', 'login'])[1 + i % 5] as kind
    from generate_series(1, 3000) as i
) as seen;

create index orders_by_customer on orders (customer_id, placed_at desc);
create index order_items_by_product on order_items (product_id);
create index events_by_time on events (happened_at);

create view revenue_by_month as
select date_trunc('month', placed_at at time zone 'UTC')::date as month,
       count(*) as orders,
       sum(total) as revenue
from orders
where status not in ('cancelled', 'returned')
group by 1;

comment on table customers is 'People who have ordered at least once or signed up';
comment on column orders.total is 'Sum over order_items at the time of the order';
