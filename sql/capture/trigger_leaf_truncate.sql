-- A BEFORE trigger that fires last (by its name): what other BEFORE triggers add is truncated too.
create or replace trigger {{trigger}} before truncate on {{source}}
for each statement execute function {{function}}();
