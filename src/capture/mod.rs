//! stub
use crate::table::*;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct CaptureError;
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub table: Table,
    pub oid: u32,
    pub log_table: TableName,
    pub mode: CaptureMode,
}
pub async fn load(_c: &tokio_postgres::Client, _s: &str) -> Result<Vec<Captured>, CaptureError> {
    Err(CaptureError)
}
pub async fn verify(_c: &tokio_postgres::Client, _s: &str, _t: &[Captured]) -> Result<(), CaptureError> {
    Err(CaptureError)
}
pub fn fingerprint_sql(_s: &str) -> String {
    String::new()
}
impl CaptureError {
    pub fn as_query(&self) -> Option<&tokio_postgres::Error> {
        None
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub enum Severity {
    Warning,
    Error,
}
#[derive(Debug, serde::Serialize)]
pub struct Finding {
    pub id: &'static str,
    pub severity: Severity,
    pub evidence: String,
    pub fix: String,
}
pub async fn findings(_c: &mut tokio_postgres::Client, _: &crate::config::Config) -> Vec<Finding> {
    vec![]
}
pub struct InitOptions {
    pub dry_run: bool,
    pub skip_unusable: bool,
}
pub enum Action {
    Unchanged,
    Installed,
    Altered,
    Repaired,
}
pub struct Refusal {
    pub table: TableName,
    pub why: String,
    pub way_out: String,
}
pub struct TableReport {
    pub table: TableName,
    pub action: Action,
    pub mode: CaptureMode,
    pub version: u32,
    pub notes: Vec<String>,
}
pub struct InitReport {
    pub tables: Vec<TableReport>,
    pub refused: Vec<Refusal>,
    pub kept: Vec<TableName>,
    pub sql: String,
}
pub async fn init(
    _c: &mut tokio_postgres::Client,
    _: &crate::config::Config,
    _o: InitOptions,
) -> Result<InitReport, CaptureError> {
    Err(CaptureError)
}
pub struct Uninstalled {
    pub removed: Vec<String>,
}
pub async fn uninstall(_c: &mut tokio_postgres::Client, _: &str) -> Result<Uninstalled, CaptureError> {
    Err(CaptureError)
}
