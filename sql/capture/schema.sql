-- The schema of everything that capture keeps in the source.
create schema {{schema}};
