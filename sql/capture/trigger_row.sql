-- Cloned by PostgreSQL to every partition, those to come among them.
create or replace trigger {{trigger}} after insert or update or delete on {{source}}
for each row execute function {{function}}();
