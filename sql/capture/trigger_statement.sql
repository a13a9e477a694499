-- Fires first among the AFTER triggers of its level (they fire in the order of their names), so that our row usually
-- stands before what the user's triggers cause; correctness does not rest on it, because keys are read again.
create or replace trigger {{trigger}} after {{event}} on {{source}} {{referencing}}
for each statement execute function {{function}}();
