-- Keeps DDL away, and no writer.
lock table {{table}} in access share mode;
