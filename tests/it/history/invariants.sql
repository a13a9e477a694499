-- One snapshot of what belongs together: what is broken in it, none of which ever is, and a mark of the state.
select (select coalesce(sum(balance), 0) from accounts) as balances,
  (select count(*) from children c where not exists (select from parents p where p.id = c.parent)) as orphans,
  (select count(*) from lefts l full join rights r using (id) where l.n is distinct from r.n) as out_of_step,
  concat((select sum(balance * id) from accounts), '.', (select sum(n) from rights), '.', (select sum(id * parent) from children))
