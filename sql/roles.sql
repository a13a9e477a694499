-- The roles of a production setup with the least rights that each needs, and why. Run by psql as a superuser, or as a role
-- that may create roles and owns the tables; can be run again at any time.
--
--   psql -d shop -f sql/roles.sql                        at the source; before the first `tripline init` and once after it
--   psql -d shop -v side=destination -f sql/roles.sql    at the destination, after `tripline init`
--
-- Names, each as -v name=value: installer, reader, cleaner, applier; app (the schema of the application's tables, once per
-- schema); capture ([capture] schema). Roles are created without a password: give each its own, or a certificate.
\set ON_ERROR_STOP on
set client_min_messages = warning;

\if :{?side} \else
  \set side source
\endif
\if :{?app} \else
  \set app public
\endif
\if :{?capture} \else
  \set capture cdc
\endif
\if :{?installer} \else
  \set installer tripline_installer
\endif
\if :{?reader} \else
  \set reader tripline_reader
\endif
\if :{?cleaner} \else
  \set cleaner tripline_cleaner
\endif
\if :{?applier} \else
  \set applier tripline_applier
\endif

select :'side' = 'source' as at_source, :'side' = 'destination' as at_destination,
       :'side' = 'source' and to_regnamespace(quote_ident(:'capture')) is not null as is_installed \gset

select format('create role %I login', r.name)
from (values ('source', :'installer'), ('source', :'reader'), ('source', :'cleaner'), ('destination', :'applier')) r(side, name)
where r.side = :'side' and not exists (select from pg_roles where rolname = r.name)
\gexec

\if :at_source
  -- installer: runs `tripline init` and `tripline uninstall`, nothing else. Owns schema, sequence, log tables and functions;
  -- the functions run with its rights, whoever writes the application's tables.
  -- For the schema of capture, which init creates.
  select format('grant create on database %I to %I', current_database(), :'installer') \gexec
  grant usage on schema :"app" to :"installer";
  -- TRIGGER to create the triggers, SELECT for the functions that read each changed row again.
  grant select, trigger on all tables in schema :"app" to :"installer";
  -- Not given here, because they are worth as much as the tables: to switch on a trigger that somebody switched off, and to
  -- uninstall, PostgreSQL asks for the rights of the tables' owner (`grant owner to installer`), and for event triggers, with
  -- which DDL is followed by itself, for a superuser. Where row security hides rows: BYPASSRLS, for the reader too.

  -- reader: `tripline publish`, `run`, `status`, `check`, `verify`, `snapshot` and `offset`. Writes nothing of the application.
  -- To copy existing rows and to compare them; with snapshot = "never" and without `tripline verify` changes pass without.
  grant usage on schema :"app" to :"reader";
  grant select on all tables in schema :"app" to :"reader";
\endif

\if :is_installed
  grant usage on schema :"capture" to :"reader", :"cleaner";
  -- The registry and the log.
  grant select on all tables in schema :"capture" to :"reader";
  -- How far the pipeline is, for retention; how far the copying of existing rows is, and what `tripline snapshot` asks for.
  grant insert, update on :"capture".pipelines, :"capture".snapshots to :"reader";
  -- SELECT to see where the ids stand, USAGE because requests for existing rows are numbered by it.
  grant select, usage on sequence :"capture".cdc_id_seq to :"reader";

  -- cleaner: deletes log rows that every pipeline has acknowledged, for [retention] url; and says how far, in the same
  -- transaction, for those that come with an old position.
  select format('grant insert, update on %I.retention to %I', :'capture', :'cleaner')
  where to_regclass(format('%I.retention', :'capture')) is not null
  \gexec
  select format('grant select on %I.%I to %I', :'capture', c.relname, :'cleaner')
  from pg_class c
  where c.relnamespace = to_regnamespace(quote_ident(:'capture'))
    and c.relname in ('tables', 'pipelines', 'gaps', 'retention') and c.relkind = 'r'
  \gexec
  select format('grant select, delete on %I.%I to %I', :'capture', c.relname, :'cleaner')
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attname = 'cdc_txid' and a.attnum = 1
  where c.relnamespace = to_regnamespace(quote_ident(:'capture')) and c.relkind = 'r'
  \gexec

  -- With the salt, hashes that stand in for values could be guessed.
  select format('revoke all on %I.salt from %I, %I', :'capture', :'reader', :'cleaner')
  where to_regclass(format('%I.salt', :'capture')) is not null
  \gexec

  -- For the log tables of tables that are captured later.
  alter default privileges for role :"installer" in schema :"capture" grant select on tables to :"reader", :"cleaner";
  alter default privileges for role :"installer" in schema :"capture" grant delete on tables to :"cleaner";
\endif

\if :at_destination
  -- applier: `tripline apply`. `tripline init` creates the tables and schema tripline, as their owner; so does an applier that
  -- is to follow the source's DDL, which has to own the tables.
  -- Where it goes on, in the same transaction as the rows. DELETE is for `tripline offset reset`, and for a table that is made
  -- for another one of the source.
  grant usage on schema tripline to :"applier";
  grant select, insert, update, delete on all tables in schema tripline to :"applier";
  -- The rows. TRUNCATE is for truncates of the source and for `offset reset --clear-destination`.
  grant usage on schema :"app" to :"applier";
  grant select, insert, update, delete, truncate on all tables in schema :"app" to :"applier";
  -- Not needed, but of use: with it foreign keys and triggers of the destination are quiet while changes are applied, as in
  -- PostgreSQL's own replication. From PostgreSQL 15 on:
  --   grant set on parameter session_replication_role to tripline_applier;
\endif
