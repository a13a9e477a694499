//! Tells the source how far the pipeline is, so that nobody deletes log rows that it still needs.

use tokio_postgres::error::SqlState;

use super::{Tail, TailError};
use crate::position::Position;
use crate::table::{quote_ident, quote_literal};

impl Tail {
    /// Registers the pipeline with a position that is stored: the one where it starts, then those that Kafka confirmed.
    /// Inside a pass, B is where the pass began.
    pub async fn acknowledge(&mut self, position: &Position) -> Result<(), TailError> {
        let sql = include_str!("../../sql/tail/acknowledge.sql")
            .replace("{{schema}}", &quote_ident(&self.schema))
            .replace("{{pipeline}}", &quote_literal(&self.pipeline))
            .replace("{{base}}", &quote_literal(&position.base.to_string()))
            .replace("{{offset}}", &position.offset.to_string());
        self.client().batch_execute(&sql).await.map_err(|source| match source.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                TailError::NotRegistered { registry: format!("{}.pipelines", quote_ident(&self.schema)) }
            }
            _ => TailError::Query { what: "registering the pipeline", source },
        })?;
        self.end_load(position).await
    }
}
