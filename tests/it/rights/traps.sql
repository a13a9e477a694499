-- Run by the application's role in a session of its own. Each trap notes in seen whom it ran as.
create function evil.noted(what text) returns int language plpgsql as
  $$begin insert into public.seen values (current_user, what); return 1; end$$;

-- Functions that capture's functions call.
create function evil.pg_current_xact_id() returns xid8 language sql as
  $$select (evil.noted('pg_current_xact_id')::text)::xid8$$;
create function evil.clock_timestamp() returns timestamptz language sql as
  $$select case when evil.noted('clock_timestamp') operator(pg_catalog.=) 1 then pg_catalog.clock_timestamp() end$$;
create function evil.nextval(regclass) returns bigint language sql as
  $$select evil.noted('nextval')::bigint operator(pg_catalog.+) pg_catalog.nextval($1)$$;
create function evil.md5(text) returns text language sql as $$select evil.noted('md5')::text$$;
create function evil.sha256(bytea) returns bytea language sql as
  $$select pg_catalog.convert_to(evil.noted('sha256')::text, 'UTF8')$$;
create function evil.encode(bytea, text) returns text language sql as $$select evil.noted('encode')::text$$;
create function evil.convert_to(text, name) returns bytea language sql as
  $$select pg_catalog.convert_to(evil.noted('convert_to')::text, 'UTF8')$$;
create function evil."left"(text, int) returns text language sql as $$select evil.noted('left')::text$$;
create function evil.current_setting(text) returns text language sql as $$select evil.noted('current_setting')::text$$;
create function evil.coalesced(text, text) returns text language sql as $$select evil.noted('||')::text$$;

-- Operators, for the types of keys, values and rows.
create function evil.same(int, int) returns boolean language sql as
  $$select evil.noted('int =') operator(pg_catalog.=) 1 and $1 operator(pg_catalog.=) $2$$;
create operator evil.= (function = evil.same, leftarg = int, rightarg = int);
create operator evil.<> (function = evil.same, leftarg = int, rightarg = int);
create operator evil.>= (function = evil.same, leftarg = int, rightarg = int);
create function evil.same(text, text) returns boolean language sql as
  $$select evil.noted('text =') operator(pg_catalog.=) 1 and $1 operator(pg_catalog.=) $2$$;
create operator evil.= (function = evil.same, leftarg = text, rightarg = text);
create operator evil.<> (function = evil.same, leftarg = text, rightarg = text);
create operator evil.|| (function = evil.coalesced, leftarg = text, rightarg = text);
create function evil.same(record, record) returns boolean language plpgsql as
  $$begin perform evil.noted('record'); return true; end$$;
create operator evil.= (function = evil.same, leftarg = record, rightarg = record);
create operator evil.*= (function = evil.same, leftarg = record, rightarg = record);
create operator evil.*<> (function = evil.same, leftarg = record, rightarg = record);

-- Relations and row types of the names that are used, permanent and in pg_temp, whose defaults, checks and triggers run code.
create table evil.t_cdc (cdc_txid xid8, cdc_id bigint default evil.noted('default'), cdc_op "char", cdc_at timestamptz,
  id int, v text, k text);
create table evil.salt (one boolean, salt text default evil.noted('salt')::text);
create temp table t_cdc (cdc_txid xid8, cdc_id bigint default evil.noted('temp default'), cdc_op "char",
  cdc_at timestamptz default evil.clock_timestamp(), id int check (evil.noted('temp check') operator(pg_catalog.>) 0), v text, k text);
create temp table t (id int default evil.noted('temp t'), v text, k text);
create temp table cdc_new (id int default evil.noted('temp cdc_new'), v text, k text);
create temp table cdc_old (id int default evil.noted('temp cdc_old'), v text, k text);
create temp table salt (one boolean, salt text);
create temp table tables (relation oid, schema_name text);
create temp table pg_class (oid oid, relname name);
create temp table pg_trigger (oid oid, tgname name);
create function evil.fired() returns trigger language plpgsql as
  $$begin perform evil.noted('trigger of ' operator(pg_catalog.||) tg_table_name); return new; end$$;
create trigger fired before insert on pg_temp.t_cdc for each row execute function evil.fired();
create trigger fired before insert on evil.t_cdc for each row execute function evil.fired();
create domain pg_temp.text as pg_catalog.text check (evil.noted('domain text') operator(pg_catalog.>) 0);
create domain pg_temp.record_key as pg_catalog.int4;
create type pg_temp.int4 as (id pg_catalog.int4);
create type pg_temp.xid8 as (id pg_catalog.int4);

set search_path = evil, pg_temp, pg_catalog, public;
set check_function_bodies = off;
set row_security = on;
