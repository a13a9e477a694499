copy (
  select {{row}} from {{table}} t
  where {{condition}}
  order by {{order}}
  limit {{rows}}
) to stdout
