-- Every fourth row is hidden from the role.
alter table a enable row level security;
alter table b enable row level security;
create policy most on a to {{role}} using (id % 4 <> 3) with check (true);
create policy most on b to {{role}} using (id % 4 <> 3) with check (true);
grant usage on schema aside to {{role}};
grant all on all tables in schema public, aside to {{role}};
