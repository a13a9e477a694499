-- Follows a column that the captured table gained.
alter table {{log}} add column {{column_definition}};
