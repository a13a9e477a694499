-- pgbench: an order with its lines, the stock and the total, in one transaction. Products are locked, because edits.sql
-- changes their keys.
\set customer random(1, 200)
\set product random(0, 36)
\set quantity random(1, 5)
begin;
with placed as (
  insert into orders (customer_id, note)
  select id, case when :quantity > 2 then 'bench ' || :customer end from customers where id = :customer
  returning id
)
insert into order_lines (order_id, line_no, sku, quantity, price)
select placed.id, row_number() over (order by p.sku), p.sku, :quantity, p.price
from placed, (select sku, price from products order by sku offset :product limit 3 for key share) p;
update orders set total = (select coalesce(sum(quantity * price), 0) from order_lines where order_id = orders.id)
where id = (select max(id) from orders where customer_id = :customer);
update products set stock = stock - :quantity where sku = 'SKU-' || lpad((:product + 1)::text, 4, '0');
commit;
