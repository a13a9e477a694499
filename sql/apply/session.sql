-- Settings of the applier's session, beside those under which text is exact.
-- A batch is as large as it is: time-outs of the role must not make it impossible for ever.
set session statement_timeout = 0;
set session lock_timeout = 0;
-- The transaction of a large pass stays open until the rest of it has come.
set session idle_in_transaction_session_timeout = 0;
-- Newer servers have these.
select set_config(name, '0', false) from pg_settings where name in ('transaction_timeout', 'idle_session_timeout');
-- Values go back as they came.
set session xmloption = content;
-- A row that a policy hides must be an error, not a delete that finds nothing.
set session row_security = off;
-- Stage tables have no statistics: reach the destination by its key, never by reading all of it.
set session enable_hashjoin = off;
set session enable_mergejoin = off;
set session jit = off;
-- Notices of the destination's triggers may hold values.
set session client_min_messages = error;
set session default_transaction_read_only = off;
-- A dead applier's lock goes with its connection.
set session tcp_keepalives_idle = 30;
set session tcp_keepalives_interval = 10;
set session tcp_keepalives_count = 3;
-- What is answered as applied must be durable.
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
