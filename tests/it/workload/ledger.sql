-- Tables whose rows belong together, and what changes them only together. In every commit the balances add up to
-- nothing, each left has its right with the same n, and each child its parent.
create table accounts (id int primary key, balance bigint not null);
create table lefts (id int primary key, n bigint not null, body text);
create table rights (id int primary key, n bigint not null);
create table parents (id int primary key, body text);
create table children (id int primary key, body text,
  parent int not null references parents on update cascade on delete cascade);

create function transfer(debtor int, creditor int, amount bigint) returns void language plpgsql as $$
declare locked int;
begin
  perform from accounts where id in (debtor, creditor) order by id for update;
  get diagnostics locked = row_count;
  if locked = 2 then
    update accounts set balance = balance + case id when debtor then -amount else amount end
    where id in (debtor, creditor);
  end if;
end $$;

create function close_account(account int, heir int) returns void language plpgsql as $$
declare locked int;
begin
  perform from accounts where id in (account, heir) order by id for update;
  get diagnostics locked = row_count;
  if locked = 2 then
    update accounts set balance = balance + (select balance from accounts where id = account) where id = heir;
    delete from accounts where id = account;
  end if;
end $$;

-- Everybody pays one.
create function collect(treasurer int) returns void language plpgsql as $$
declare paid int;
begin
  perform from accounts where id = treasurer for update;
  if found then
    update accounts set balance = balance - 1 where id <> treasurer;
    get diagnostics paid = row_count;
    update accounts set balance = balance + paid where id = treasurer;
  end if;
end $$;
