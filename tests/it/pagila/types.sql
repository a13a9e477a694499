-- What has to be at both sides before tables can be made there: everything but enums, which init makes.
create schema people;
create domain people.email as text check (value ~ '^[^@]+@[^@]+$');
create domain public.year as integer check (value between 1901 and 2155);
