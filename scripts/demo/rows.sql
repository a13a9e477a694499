-- The first rows: one transaction over all five tables.
begin;

insert into employees (name, email, salary, hired, manager_id, skills, active, profile)
select 'Employee ' || n, case when n % 7 > 0 then 'employee' || n || '@example.org' end, 30000 + n * 12.34,
       date '2015-01-01' + n, case when n > 10 then 1 + n % 10 end,
       case when n % 5 = 0 then '{}' else array['sql', null, 'skill ' || n % 9] end, n % 11 > 0,
       case when n % 3 > 0 then jsonb_build_object('desk', n, 'remote', n % 2 = 0, 'nick', null) end
from generate_series(1, 500) n;

insert into customers (name, email, vip, address, tags)
select 'Customer ' || n, 'customer' || n || '@example.org', case n % 3 when 0 then true when 1 then false end,
       case when n % 4 > 0 then jsonb_build_object('city', 'City ' || n % 20, 'zip', lpad(n::text, 5, '0')) end,
       case when n % 2 = 0 then array['tag ' || n % 6, 'caf' || chr(233), ''] end
from generate_series(1, 200) n;

insert into products (sku, title, price, stock, attributes)
select 'SKU-' || lpad(n::text, 4, '0'), 'Product ' || n || E' "quoted"\ttab \\ and\nline', 1 + n * 0.99, 1000000,
       jsonb_build_object('weight', n / 10.0, 'colours', jsonb_build_array('red', 'blue'))
from generate_series(1, 40) n;

insert into orders (customer_id, status, total, note)
select 1 + n % 200, 'new', 0, case when n % 2 = 0 then 'first orders' end from generate_series(1, 300) n;

insert into order_lines (order_id, line_no, sku, quantity, price, options)
select o.id, l, p.sku, 1 + l, p.price, case when l = 2 then array['gift', null] end
from orders o
cross join generate_series(1, 3) l
join products p on p.sku = 'SKU-' || lpad((1 + (o.id + l) % 40)::text, 4, '0');

commit;
