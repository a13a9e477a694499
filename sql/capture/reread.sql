-- Capture by re-reading: for every key that the statement touched, logs the row as it is now.
--
-- Statements that the user's triggers run inside this one log before it does. Whatever the nesting, each change of a
-- key is followed by a look at that key, so the last log row of a key carries its final state: nobody else can change
-- the key before this transaction ends, and a look sees all that this transaction has done.
--
-- Keys are taken by union, never by joining transition tables; each is looked up through its index. Sequential scans
-- are off because the plan is cached for the session, possibly from a time when the table was empty.
-- With a filter only keys are looked at whose old or new row met it: of a row that never did nothing is logged.
-- The sort puts the keys that the statement left behind before those that it took.
-- Most UPDATEs leave every key where it is: then there is nothing to put together and to sort (reread_unmoved.sql), and
-- most have one row (reread_one.sql). One that found no row has nothing to log.
--
-- `offset 0` keeps the look-up what it is written as, a loop over an index, as a limit would, but without a node of the plan.
create or replace function {{function}}() returns trigger
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set row_security = off{{settings}}
set enable_seqscan = off
set jit = off
as $tripline${{conflict}}
declare
  cdc_fits constant boolean := {{fits}};
begin{{guard}}{{unmoved}}
  insert into {{log}} (cdc_op, {{columns}})
  select case when r.cdc_found is null then 'D' when k.cdc_was then 'U' else 'I' end, {{key_or_row}}
  from ({{touched}}) k
  left join lateral (
    select {{row}}, true as cdc_found from only {{source}} t where {{lookup_k}} offset 0
  ) r on true
  order by k.cdc_stays;
  return null;
end
$tripline$;
revoke execute on function {{function}}() from public;
