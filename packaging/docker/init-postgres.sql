-- The demo's role and database, on the source and on the destination. Can be run again.
-- tripline owns the database and nothing beyond it: no superuser, no replication, no other role's privileges.
select 'create role tripline login'
 where not exists (select from pg_roles where rolname = 'tripline')
\gexec
select 'create database shop owner tripline'
 where not exists (select from pg_database where datname = 'shop')
\gexec
