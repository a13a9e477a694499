-- Plain SQL, run again and again beside pgbench: several rows a statement, key changes, NULLs, savepoints, rollbacks.

-- inserts that return, and text that needs care on its way
insert into employees (name, salary, hired, skills, profile)
values (E'O''Neill "Jo"\t\\N ∅ 🐘', 0.10, 'today', array['a,b', '{"x"}', '', 'NULL', null], '{"a": [1, 2.50, null], "b": "ü/\\"}'),
       ('', -12345.60, '1970-01-01', '{}', 'null');

-- many rows, values to NULL and back
update employees set active = not active, email = null, updated_at = clock_timestamp() where id % 50 = (random() * 49)::integer;
update customers set vip = null, tags = case when tags is null then array['again'] end where id % 20 = (random() * 19)::integer;

-- keys change; foreign keys follow
update employees set id = id + 1000000 where id = (select min(id) from employees where id between 101 and 1000);
update products set sku = sku || '*' where sku = (select max(sku) from products where length(sku) < 10);

-- one transaction over four tables; what is rolled back to the savepoint never was
begin;
insert into customers (name, email) values ('New customer', 'new-' || gen_random_uuid() || '@example.org');
insert into orders (customer_id, status, note) select max(id), 'paid', 'by hand' from customers;
insert into order_lines (order_id, line_no, sku, quantity, price)
select (select max(id) from orders where note = 'by hand'), n, (select min(sku) from products), n, 9.90 from generate_series(1, 2) n;
savepoint doubt;
delete from order_lines where line_no = 1;
update products set price = price * 2;
rollback to doubt;
update products set price = price + 0.01 where sku = (select min(sku) from products);
commit;

-- nothing of this arrives
begin;
delete from employees;
insert into customers (name, email) values ('Never', 'never@example.org');
rollback;

-- a row that comes and goes, and customers with all their orders
delete from employees where id in (select id from employees where name = '' order by id limit 1);
delete from customers where id = (select max(id) from customers where name = 'New customer');
