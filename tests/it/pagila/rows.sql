-- What is there before capture begins.
select setseed({seed});
insert into language (name) values ('English'), ('Deutsch'), ('日本語'), ('Français');
insert into category (name) select 'category ' || n from generate_series(1, 12) n;
insert into people.actor (first_name, last_name) select 'Ann' || n, 'O''Hara "' || n || '"' from generate_series(1, 60) n;
insert into film (title, description, release_year, language_id, original_language_id, length, rating, special_features, scores, extras)
  select 'Film ' || n, case when n % 7 > 0 then repeat('word' || n || ' ', n % 30) end, 1950 + n % 100, 1 + n % 4,
         nullif(n % 5, 0), make_interval(mins => n), (enum_range(null::rating))[1 + n % 5], array['Trailers', null, 'Déleted, "Scenes"'],
         array[[n, random()], [null, 'NaN'::float8]], jsonb_build_object('n', n, 'list', array[n, null], 'none', null)
  from generate_series(1, 200) n;
insert into people.film_actor select distinct (random() * 59)::int + 1, (random() * 199)::int + 1, array['role'] from generate_series(1, 500);
insert into film_category select n, 1 + n % 12 from generate_series(1, 200) n;
begin;
insert into people.staff select n, 'staff ' || n, decode(md5(n::text), 'hex'), n, nullif(n % 3, 0) from generate_series(1, 3) n;
insert into stock.store (manager_staff_id, opening) select n, '[2020-01-01 09:00, 2020-01-01 18:00)' from generate_series(1, 3) n;
commit;
insert into people.customer (customer_id, store_id, email, born, balance)
  select md5(n::text)::uuid, 1 + n % 3, 'c' || n || '@example.com', '1980-01-01'::date + n * 40, n from generate_series(1, 150) n;
insert into stock.inventory select n, 1 + n % 200, 1 + n % 3 from generate_series(1, 600) n;
insert into rental (rented_at, inventory_id, customer_id)
  select '2025-11-01'::timestamptz + n * '1 hour'::interval, n, md5((1 + n % 150)::text)::uuid from generate_series(1, 400) n;
update rental set returned_at = rented_at + '3 days' where rental_id <= 200;
