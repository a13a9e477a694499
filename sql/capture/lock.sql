-- Waits for all who write the table, so that what follows sees every change or is seen by it.
lock table {{table}} in share row exclusive mode;
