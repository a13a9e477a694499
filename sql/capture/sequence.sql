-- The one sequence that numbers the log rows of all tables. CACHE 1: a session that kept ids in stock would draw an
-- id below one that a later writer of the same key has already used.
create sequence {{schema}}.cdc_id_seq as bigint increment by 1 cache 1 no cycle;
