-- One round of mixed work; {n} numbers rounds over all writers.
select setseed({seed});
begin;
insert into rental (rented_at, inventory_id, customer_id)
  select '2026-02-01'::timestamptz + {n} * '1 day'::interval + inventory_id * '1 minute'::interval, inventory_id,
         md5((1 + inventory_id % 100)::text)::uuid
  from (select inventory_id from stock.inventory order by random() limit 15 for key share) i on conflict do nothing;
update rental set returned_at = rented_at + random() * '400 days'::interval
  where rental_id in (select rental_id from rental where returned_at is null order by random() limit 10 for update skip locked);
commit;
update film set description = 'round {n}', rating = (enum_range(null::rating))[1 + {n} % 5], extras = extras || '{"n": {n}}',
  special_features = special_features || array['x{n}'] where film_id % 23 = {n} % 23;
begin;
insert into film (title, language_id, length) values ('New {n}', 1 + {n} % 4, '2 hours');
insert into people.film_actor select 1 + {n} % 60, max(film_id), '{}' from film on conflict do nothing;
insert into stock.inventory select 10000 + {n}, max(film_id), 1 + {n} % 3, 'worn' from film on conflict do nothing;
savepoint s;
delete from film where film_id % 50 = {n} % 50;
rollback to s;
commit;
delete from film where film_id = (select film_id from film where film_id > 20 order by random() limit 1);
update people.customer set email = 'moved{n}' || email where customer_id = md5((1 + {n} % 150)::text)::uuid;
update payment set paid_at = paid_at + '1 year' where payment_id % 40 = {n} % 40;
update payment_2025 set amount = amount + 1 where payment_id % 10 = {n} % 10;
delete from payment where payment_id % 97 = {n} % 97;
update people.actor set last_name = 'Round {n}' where actor_id % 6 = {n} % 6;
update stock.inventory set state = 'lost', store_id = 1 + {n} % 3 where inventory_id % 30 = {n} % 30;
begin;
update people.staff set manager_id = 1 + {n} % 3;
update stock.store set opening = opening + '[2020-01-01 18:00, 2020-01-01 19:00)'::tsrange where store_id = 1 + {n} % 3;
commit;
refresh materialized view sales;
