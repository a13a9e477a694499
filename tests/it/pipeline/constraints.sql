-- Constraints of every kind, the same at both ends.
-- Parents, children and theirs, with actions; one column refers to a unique value that is no key.
create table customers (id int primary key, n int, code int not null unique);
create table orders (id int primary key, n int, u int unique,
  customer int not null references customers on update cascade on delete cascade,
  reviewer int references customers on update cascade on delete set null,
  by_code int references customers (code) on update cascade on delete set null);
create table lines (id int primary key, n int, ordered int not null references orders on update cascade on delete cascade);
-- Itself.
create table tree (id int primary key, n int, up int references tree on update cascade on delete cascade);
-- In circles, checked at the end or at once.
create table heads (id int primary key, n int, tail int);
create table tails (id int primary key, n int, head int references heads deferrable initially deferred);
alter table heads add foreign key (tail) references tails deferrable;
create table rings (id int primary key, n int, stone int);
create table stones (id int primary key, n int, ring int references rings);
alter table rings add foreign key (stone) references stones;
-- Checked at the end, with an action that is not put off.
create table bosses (id int primary key, n int);
create table workers (id int primary key, n int, boss int not null references bosses on delete cascade deferrable initially deferred);
create table badges (id int primary key, n int, worker int references workers on delete set null);
-- Unique values and ranges.
create table places (id int primary key, n int, pos int unique, late int unique deferrable, during int4range,
  exclude using gist (during with &&));
-- A key that is put off is not captured by: another is.
create table swapped (id int primary key deferrable, k int not null unique, n int);
-- Which of the test's transactions has arrived.
create table done (id int primary key);
