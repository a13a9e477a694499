-- Roles for a production source; an example, run by hand after tripline init. Names are yours to choose.
-- owner: runs tripline init. Owns the captured tables, or has SELECT and TRIGGER on them and sees all their rows.
-- reader: what the daemon runs as.
-- cleaner: what retention runs as.

grant usage on schema cdc to tripline_reader, tripline_cleaner;
grant select on all tables in schema cdc to tripline_reader, tripline_cleaner;
grant select on sequence cdc.cdc_id_seq to tripline_reader;
grant insert, update on cdc.pipelines, cdc.snapshots to tripline_reader;
-- For `tripline snapshot`, whose requests are numbered by the sequence:
grant usage on sequence cdc.cdc_id_seq to tripline_reader;
grant delete on all tables in schema cdc to tripline_cleaner;
revoke delete on cdc.tables, cdc.pipelines, cdc.snapshots from tripline_cleaner;
-- cdc.salt is there only with hashes as masks; the cleaner has no use for it:
-- revoke select on cdc.salt from tripline_cleaner;
-- For snapshots, of the tables that are captured:
grant usage on schema public to tripline_reader;
grant select on all tables in schema public to tripline_reader;
-- For log tables to come, run by the owner:
alter default privileges in schema cdc grant select on tables to tripline_reader, tripline_cleaner;
alter default privileges in schema cdc grant delete on tables to tripline_cleaner;
