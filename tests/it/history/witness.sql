-- Notes every state that a row takes at the destination, in the order of the commits of one applier.
create schema witness;
create table witness.applied (at bigint generated always as identity primary key, place text, id text, state text);
create function witness.note() returns trigger language plpgsql as $$ begin
  insert into witness.applied (place, id, state) values (tg_table_name, new.id::text, new::text);
  return null;
end $$;
