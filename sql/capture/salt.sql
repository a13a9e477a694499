insert into {{schema}}.salt (salt) values ($1) on conflict (one) do update set salt = excluded.salt
