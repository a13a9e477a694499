-- Has retention removed rows of this log that a truncate in it does not make void?
select pg_catalog.to_json(
  exists (select from {{schema}}.retention r where r.log_table = {{log_literal}})
  and not exists (select from {{log}} l where l.cdc_op = 'T'))
