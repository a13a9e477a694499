//! stub
use crate::consume::*;
use crate::table::Table;
use std::future::Future;
use std::sync::Arc;
pub struct ClickHouseTarget<S>(S);
impl<S> ClickHouseTarget<S> {
    pub fn new(_c: &crate::config::ClickHouse, s: S) -> Self {
        Self(s)
    }
}
pub trait ProgressStore: Send {
    fn load(&mut self) -> impl Future<Output = Result<Positions, TargetError>> + Send;
    fn save(&mut self, progress: &[Progress]) -> impl Future<Output = Result<(), TargetError>> + Send;
}
impl<S: ProgressStore> Target for ClickHouseTarget<S> {
    fn name(&self) -> &'static str {
        "postgres"
    }
    async fn resume(&mut self) -> Result<Positions, TargetError> {
        self.0.load().await
    }
    async fn prepare(&mut self, _t: &Arc<Table>) -> Result<(), TargetError> {
        panic!()
    }
    async fn apply(&mut self, _b: &Batch) -> Result<(), TargetError> {
        panic!()
    }
}
