//! stub
use crate::consume::*;
use crate::table::Table;
use std::sync::Arc;
pub struct PostgresTarget;
impl PostgresTarget {
    pub fn new(_u: &str, _p: &str, _c: &crate::config::Apply) -> Self {
        Self
    }
}
impl Target for PostgresTarget {
    fn name(&self) -> &'static str {
        "postgres"
    }
    async fn resume(&mut self) -> Result<Positions, TargetError> {
        todo()
    }
    async fn prepare(&mut self, _t: &Arc<Table>) -> Result<(), TargetError> {
        todo()
    }
    async fn apply(&mut self, _b: &Batch) -> Result<(), TargetError> {
        todo()
    }
}
fn todo<T>() -> T {
    panic!()
}
