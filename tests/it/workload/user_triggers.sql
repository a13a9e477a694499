-- Triggers of a user's that write the same table again: before and behind ours, by row and by statement, and one that
-- fills a truncated table.
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
