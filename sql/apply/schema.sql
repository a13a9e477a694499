-- What the applier keeps for itself at the destination. Run when one of the tables is missing.
create schema if not exists tripline;

-- The next Kafka offset of every partition, moved in the transaction that applies what lies before it.
create table if not exists tripline.positions (
    pipeline    text   not null,
    topic       text   not null,
    partition   int4   not null,
    next_offset int8   not null,
    -- What the cuts topic says before this offset is applied here.
    covered     int8   not null default 0,
    -- Of the last cut that was applied here.
    epoch       int8   not null default 0,
    primary key (pipeline, topic, partition)
);
alter table tripline.positions add column if not exists covered int8 not null default 0;
alter table tripline.positions add column if not exists epoch int8 not null default 0;

-- The last part of a pass that was applied.
create table if not exists tripline.cuts (
    pipeline      text        primary key,
    epoch         int8        not null,
    pass          int8        not null,
    part          int8        not null,
    done          bool        not null,
    rows          int8        not null,
    cdc_offset    int8        not null,
    source_micros int8        not null,
    applied_at    timestamptz not null
);

-- Tables whose rows are copied anew: rows that were written before the transaction `began` are gone when that ends.
create table if not exists tripline.sweeps (
    pipeline    text  not null,
    table_name  text  not null,
    run         int8  not null,
    began       xid8  not null,
    primary key (pipeline, table_name)
);

-- Which source table, at which version, a table here was last made for, and which column holds which of the source's.
create table if not exists tripline.tables (
    pipeline    text  not null,
    target      oid   not null,
    relation    int8  not null,
    made        text  not null,
    primary key (pipeline, target)
);
