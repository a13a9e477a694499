-- The salt of hashes that stand in for masked values. Not in the functions' text: every role may read that (pg_proc).
create table {{schema}}.salt (
  one   boolean primary key default true check (one),
  salt  text not null
);
-- Nobody gets it by default privileges either.
do $tripline$
declare
  grantee text;
begin
  for grantee in
    select distinct case x.grantee when 0 then 'public' else format('%I', pg_get_userbyid(x.grantee)) end
    from pg_class c, aclexplode(c.relacl) x
    where c.oid = '{{schema}}.salt'::regclass and x.grantee <> c.relowner
  loop
    execute format('revoke all on {{schema}}.salt from %s', grantee);
  end loop;
end
$tripline$;
