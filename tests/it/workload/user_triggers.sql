-- Triggers of a user's that write the same table again: before and behind ours, by row and by statement, one that fills
-- a truncated table, and a function that a statement calls.
create function {{t}}_after() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and new.id < {{bulk}} then
    if new.id % 2 = 0 then update {{t}} set v = new.v || '+n' where id in (new.id, new.id + 1); end if;
    if new.id % 7 = 0 then delete from {{t}} where id = new.id + 2; end if;
  end if;
  return null; end $$;
create trigger user_after after insert or update on {{t}} for each row execute function {{t}}_after();
create function {{t}}_first() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and new.id < {{bulk}} and new.id % 5 = 0 then
    update {{t}} set v = v || '+f' where id = new.id + 3;
  end if;
  return null; end $$;
create trigger "!user_first" after update on {{t}} for each row execute function {{t}}_first();
create function {{t}}_before() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and new.id < {{bulk}} and new.id % 11 = 0 then
    update {{t}} set v = v || '+b' where id = new.id + 1;
  end if;
  return new; end $$;
create trigger user_before before insert or update on {{t}} for each row execute function {{t}}_before();
create function {{t}}_statement() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 then
    insert into {{t}} select min(id) + 3, 'back' from gone where id < {{bulk}} having min(id) % 3 = 0
    on conflict (id) do update set v = {{t}}.v || '+s';
  end if;
  return null; end $$;
create trigger user_statement after delete on {{t}} referencing old table as gone
  for each statement execute function {{t}}_statement();
create function {{t}}_refill() returns trigger language plpgsql as $$ begin
  insert into {{t}} values (1, 'refilled'), (9, 'refilled') on conflict do nothing; return null; end $$;
create trigger "!user_refill" after truncate on {{t}} for each statement execute function {{t}}_refill();
-- Before a statement sees its rows, and around the rows that it takes.
create function {{t}}_before_statement() returns trigger language plpgsql as $$
declare n int := 1 + (random() * 60)::int;
begin
  if pg_trigger_depth() < 2 and n % 6 = 0 then
    update {{t}} set v = v || '+bs' where id = n;
    delete from {{t}} where id = n + 1;
    insert into {{t}} values (n + 2, 'before') on conflict do nothing;
  end if;
  return null; end $$;
create trigger user_before_statement before insert or update or delete on {{t}}
  for each statement execute function {{t}}_before_statement();
create function {{t}}_before_delete() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and old.id < {{bulk}} then
    if old.id % 13 = 0 then return null; end if;
    if old.id % 9 = 0 then insert into {{t}} values (old.id + 2, 'bd') on conflict (id) do update set v = {{t}}.v || '+bd'; end if;
  end if;
  return old; end $$;
create trigger user_before_delete before delete on {{t}} for each row execute function {{t}}_before_delete();
-- A row that goes as soon as it has come, and one that comes back with another value.
create function {{t}}_undo() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and new.id < {{bulk}} and new.id % 17 = 0 then
    delete from {{t}} where id = new.id;
    if new.id % 2 = 0 then insert into {{t}} values (new.id, 'undone'); end if;
  end if;
  return null; end $$;
create trigger user_undo after insert on {{t}} for each row execute function {{t}}_undo();
create function {{t}}_after_statement() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 then
    update {{t}} set v = v || '+as' where id in (select id + 2 from came where id % 10 = 3 and id < {{bulk}});
    delete from {{t}} where id in (select id from came where id % 19 = 0 and id < {{bulk}});
  end if;
  return null; end $$;
create trigger "!user_after_statement" after update on {{t}} referencing new table as came
  for each statement execute function {{t}}_after_statement();
-- Through other tables: one that is not captured, whose trigger writes here, and the captured one beside it.
create table aside.{{t}}_hop (id int);
create function {{t}}_back() returns trigger language plpgsql as $$ begin
  update {{t}} set v = v || '+hop' where id in (new.id, new.id + 1);
  delete from {{t}} where id = new.id + 4;
  return null; end $$;
create trigger back after insert on aside.{{t}}_hop for each row execute function {{t}}_back();
create function {{t}}_hop() returns trigger language plpgsql as $$ begin
  if pg_trigger_depth() < 2 and new.id < {{bulk}} and new.id % 8 = 0 then
    insert into aside.{{t}}_hop values (new.id);
    insert into {{other}} values (new.id, 'hop') on conflict (id) do update set v = {{other}}.v || '+hop';
  end if;
  return null; end $$;
create trigger user_hop after insert or update on {{t}} for each row execute function {{t}}_hop();
-- What a statement calls for each of its rows.
create function {{t}}_meddle(k int) returns text language plpgsql as $$ begin
  if k < {{bulk}} then
    update {{t}} set v = v || '+m' where id = k + 1;
    delete from {{t}} where id = k + 4;
    insert into {{t}} values (k + 5, 'meddled') on conflict do nothing;
  end if;
  return 'meddle' || k; end $$;
