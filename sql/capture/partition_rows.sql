-- Whether a partition has rows from before its rows were captured.
select to_json(exists (
  select from only {{table}} t
  where age(t.xmin) > age({{since}}::xid) or (t.xmin = {{since}}::xid and t.cmin::text::int8 <= {{command}})))
