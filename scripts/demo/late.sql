-- A transaction that draws its numbers early and commits late: what reading "cdc_id > last" would lose.
begin;
insert into employees (name, salary, hired) values ('Late', 1, 'today');
select pg_sleep(:wait);
update employees set salary = 2 where id = (select max(id) from employees where name = 'Late');
commit;
