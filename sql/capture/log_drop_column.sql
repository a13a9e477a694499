-- Follows a column that the captured table lost.
alter table {{log}} drop column {{column}};
