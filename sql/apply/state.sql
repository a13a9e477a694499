-- Tells whether the applier's tables are there, and what the role may do.
select to_regclass('tripline.cuts') is not null and to_regclass('tripline.sweeps') is not null
       and to_regclass('tripline.tables') is not null and exists (
           select from pg_attribute where attrelid = to_regclass('tripline.positions') and attname = 'epoch'
       ) as installed,
       has_database_privilege(current_database(), 'TEMP') as may_stage
