-- Rows that no transaction has written since the copying began. Transaction numbers are compared as the server does,
-- 2^31 of them behind and 2^31 ahead.
delete from {target} t
where (t.xmin::text::int8 - (
    select began::text::numeric % 4294967296 from tripline.sweeps
    where pipeline = {pipeline} and table_name = {table} and run = {run}
)::int8 + 4294967296) % 4294967296 >= 2147483648
