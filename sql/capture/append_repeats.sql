-- Would rows that a snapshot shows, and that are published behind an id again, stand twice where nothing folds them? Not
-- where a truncate is among what comes again.
select pg_catalog.to_json(
  exists (select from {{log}} l where l.cdc_id > {{offset}} and l.cdc_op = 'I'
          and pg_catalog.pg_visible_in_snapshot(l.cdc_txid, {{published}}))
  and not exists (select from {{log}} l where l.cdc_id > {{offset}} and l.cdc_op = 'T'))
