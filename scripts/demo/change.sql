-- pgbench: an order moves on, an employee gets a raise, now and then an order is deleted with its lines.
\set order random(1, 2000)
\set employee random(1, 500)
\set what random(1, 10)
update orders
set status = (array['paid', 'shipped', 'cancelled'])[1 + :what % 3]::order_status, paid = :what % 3 < 2,
    shipped_at = case when :what % 3 = 1 then clock_timestamp() end
where id = :order;
update employees set salary = round(salary * 1.01, 2), updated_at = clock_timestamp() where id = :employee;
delete from orders where id = :order and :what = 10;
