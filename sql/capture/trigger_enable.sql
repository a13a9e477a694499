-- Switches a trigger of ours on again.
alter table {{table}} enable trigger {{trigger}};
