-- Whether a fixed value is one of the column's type: domains, lengths and labels among it.
select {{value}}::{{declared}}::pg_catalog.text operator(pg_catalog.=) {{value}}::{{base}}::pg_catalog.text
