-- Puts back what numbering depends on.
alter sequence {{schema}}.cdc_id_seq increment by 1 cache 1 no cycle;
