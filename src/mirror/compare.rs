//! Reading the mirror back: hashes of what is there, and of what the mirror would write for a row of the source.
//!
//! Both are taken over the bytes of an insert. The mirror is exact, so equal rows are equal bytes, whatever their types.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::clickhouse::Server;
use super::error;
use super::plan::TablePlan;
use super::policy::Policies;
use super::sql;
use super::target::look_up;
use crate::config;
use crate::consume::TargetError;
use crate::table::{Table, TableName};
use crate::wire::Row;

/// Number of buckets that keys are put into.
pub const BUCKETS: usize = 1 << 16;
/// The bits of a key's hash that name its bucket.
const MASK: u64 = BUCKETS as u64 - 1;

/// Half of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(u64, u64);

impl Digest {
    /// Stands for a key that the mirror cannot hold.
    pub const NOWHERE: Self = Self(0, 0);

    fn of(bytes: &[u8]) -> Self {
        let hash = Sha256::digest(bytes);
        let half = |from: usize| {
            hash[from..from + 8].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        Self(half(0), half(8))
    }

    /// Returns the first half of the SHA-256 in hexadecimal.
    pub fn hex(self) -> String {
        HEXLOWER.encode(&[self.0.to_le_bytes(), self.1.to_le_bytes()].concat())
    }

    /// Returns the bucket of a key with this hash.
    pub fn bucket(self) -> usize {
        (self.0 & MASK) as usize
    }
}

/// Rows of a bucket and the sums over their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Rows.
    pub rows: u64,
    sums: (u64, u64),
}

impl Bucket {
    /// Adds a row.
    pub fn add(&mut self, row: Digest) {
        self.rows += 1;
        self.sums = (self.sums.0.wrapping_add(row.0), self.sums.1.wrapping_add(row.1));
    }
}

/// The mirror of one table, to be read.
#[derive(Debug)]
pub struct Mirrored {
    server: Server,
    plan: TablePlan,
    view: String,
}

impl Mirrored {
    /// Finds the mirror of a table, which is called `name` at the targets. Errors name what is missing and the way out.
    pub async fn open(
        config: &config::ClickHouse,
        policies: &Policies,
        name: &TableName,
        table: &Arc<Table>,
    ) -> Result<Self, TargetError> {
        let server = Server::new(config);
        let name = sql::target_name(name);
        let view = sql::view_name(&name);
        let target = sql::qualified(&config.database, &name);
        let found = look_up(&server, &config.database, &name, &view).await?;
        let way_out = "run `tripline init`, or let `tripline apply` bring it up to date";
        let (Some(existing), Some(shown)) = (&found.table, &found.view) else {
            let missing = if found.table.is_none() { &name } else { &view };
            return Err(error::setup(format!("{missing} is not in {}: {way_out}", config.database)));
        };
        let missing = existing.check(&target, table, policies).map_err(error::setup)?;
        if !missing.is_empty() || !existing.is_shown_by(shown, table) {
            return Err(error::setup(format!(
                "{view} does not have the columns of {}: {way_out}",
                table.name
            )));
        }
        let plan = TablePlan::new(target, table, existing, policies, None)?;
        Ok(Self { server, plan, view: sql::qualified(&config.database, &view) })
    }

    /// Hashes a row's key; `key` is its JSON object, that of the whole row where the table has no key. `None` when the mirror could not hold it.
    pub fn key(&self, key: &Row<'_>) -> Option<Digest> {
        self.hash(key, !self.plan.table.is_append_only())
    }

    /// Hashes a row; `row` is its JSON object. `None` when the mirror could not hold it.
    pub fn row(&self, row: &Row<'_>) -> Option<Digest> {
        self.hash(row, false)
    }

    fn hash(&self, row: &Row<'_>, key: bool) -> Option<Digest> {
        let mut bytes = Vec::new();
        self.plan.encode_values(row, key, &mut bytes).ok()?;
        Some(Digest::of(&bytes))
    }

    /// Reads rows and sums of all buckets.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, TargetError> {
        let statement = sql::digests(&self.view, self.key_columns(), self.columns(), MASK);
        let rows: Vec<(u64, u64, u64, u64)> = self.server.long_rows(&self.what(), &statement).await?;
        let mut buckets = vec![Bucket::default(); BUCKETS];
        for (number, rows, first, second) in rows {
            buckets[(number & MASK) as usize] = Bucket { rows, sums: (first, second) };
        }
        Ok(buckets)
    }

    /// Reads the rows of buckets: hashes of key and row.
    pub async fn rows(&self, buckets: &[usize]) -> Result<Vec<(Digest, Digest)>, TargetError> {
        let buckets: Vec<u64> = buckets.iter().map(|&bucket| bucket as u64).collect();
        let statement = sql::rows_of_buckets(&self.view, self.key_columns(), self.columns(), MASK, &buckets);
        let rows: Vec<(u64, u64, u64, u64)> = self.server.long_rows(&self.what(), &statement).await?;
        Ok(rows.into_iter().map(|(k1, k2, r1, r2)| (Digest(k1, k2), Digest(r1, r2))).collect())
    }

    /// Reads the keys behind hashes as JSON objects.
    pub async fn names(&self, keys: &[Digest]) -> Result<Vec<String>, TargetError> {
        let keys: Vec<u64> = keys.iter().map(|key| key.0).collect();
        let statement = sql::names(&self.view, self.key_columns(), &keys);
        self.server.long_rows(&self.what(), &statement).await
    }

    fn what(&self) -> String {
        format!("read {}", self.view)
    }

    fn columns(&self) -> impl Iterator<Item = &str> + Clone {
        self.plan.table.columns.iter().map(|column| column.name.as_str())
    }

    fn key_columns(&self) -> impl Iterator<Item = &str> + Clone {
        let Table { key, .. } = &*self.plan.table;
        self.columns().filter(move |name| key.is_empty() || key.iter().any(|key| key == name))
    }
}
