//! What a row costs on its way through our own code: from a line of the log to a message, and back to a line for COPY.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tripline::event::Op;
use tripline::table::{Column, Table, TableName};
use tripline::wire::{Envelope, Field, Fields, Origin, Row, Stamp, TableEncoder};

const LINE: &str = "4711\t1289\tpaid\t12345.67\t2026-11-21 09:00:00.123456+00\tt\t1f0e3dad-9990-8345-f743-9f8ffabdffc4\t\
    1f0e3dad99908345f7439f8ffabdffc498f13708210194c475687be6106a3b843c59dc048e8850243be8079a5c74";

fn table() -> Table {
    let columns = [
        ("id", "int8"),
        ("account", "int4"),
        ("status", "text"),
        ("amount", "numeric"),
        ("created", "timestamptz"),
        ("active", "bool"),
        ("code", "uuid"),
        ("note", "text"),
    ];
    let columns = columns.map(|(name, base)| Column::new(name, base, base)).to_vec();
    Table { name: TableName::new("public", "item"), version: 1, columns, key: vec!["id".into()], relation: 0 }
}

fn message(encoder: &TableEncoder, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    let fields: Vec<Field<'_>> = Fields::new(LINE.as_bytes()).collect();
    let origin = Origin {
        cdc_id: 123_456_789,
        txid: 4_711_000,
        pass: 815,
        at_micros: 1_795_251_600_500_000,
        now_millis: 0,
    };
    encoder.key(Op::Insert, &fields, origin.cdc_id, key).expect("the line fits the table");
    encoder.value(Op::Insert, &fields, origin, value).expect("the line fits the table");
}

fn rows(c: &mut Criterion) {
    let table = table();
    let encoder = TableEncoder::new(&table, "shop", "shop");
    let (mut key, mut value) = (Vec::new(), Vec::new());
    message(&encoder, &mut key, &mut value);
    let stamp = Stamp { epoch: 1, pass: 815, part: 0, version: 1 };
    let published = [&stamp.prefix(), &value[1..]].concat();
    let row = Envelope::read(&published).expect("it was just written").row;
    let json = published[row].to_vec();

    let mut group = c.benchmark_group("row");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |b| {
        b.iter(|| {
            key.clear();
            value.clear();
            message(black_box(&encoder), &mut key, &mut value);
        });
    });
    group.bench_function("read envelope", |b| b.iter(|| Envelope::read(black_box(&published))));
    group.bench_function("decode", |b| {
        let mut scratch = Vec::new();
        b.iter(|| {
            let row = Row::parse(black_box(&json)).expect("it was just written");
            let text = |(at, column): (usize, &Column)| {
                let value = row.get(&column.name, at).expect("it has every column");
                value.to_postgres(column.kind(), &mut scratch).expect("it fits").map_or(0, <[u8]>::len)
            };
            table.columns.iter().enumerate().map(text).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
