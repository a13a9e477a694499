-- Rows come at one end and go at the other: what is vacuumed goes by how many went, whatever the table's size.
alter table {{log}} set ({{settings}});
