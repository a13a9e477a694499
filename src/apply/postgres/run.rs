//! Sends scripts and COPY data, and says which statement failed.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::super::encode::{Slot, copy_line};
use super::super::script::{Label, Script};
use super::error::Failure;
use crate::event::Change;
use crate::failpoint;

/// Bytes of COPY data that are sent at a time.
const COPY_CHUNK: usize = 64 << 10;

/// Memory that every batch uses again.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Statements.
    pub(super) script: Script,
    /// The text of one value.
    pub(super) scratch: Vec<u8>,
    /// COPY data.
    copy: BytesMut,
}

/// Runs a script in one round trip.
pub(super) async fn run(client: &Client, script: &Script) -> Result<(), Failure> {
    let mut done = 0;
    let failed = |done, error| Failure::Server { label: script.label(done), error };
    let answers = client.simple_query_raw(script.text()).await.map_err(|error| failed(0, error))?;
    let mut answers = pin!(answers);
    while let Some(answer) = answers.next().await {
        if let SimpleQueryMessage::CommandComplete(_) = answer.map_err(|error| failed(done, error))? {
            done += 1;
            failpoint::hit("apply::between-statements");
        }
    }
    Ok(())
}

/// Fills a stage with the rows of `changes`, given by their indexes.
pub(super) async fn copy(
    client: &Client,
    label: Label,
    statement: &Statement,
    slots: &[Slot],
    changes: &[Change],
    indexes: &[usize],
    buffers: &mut Buffers,
) -> Result<(), Failure> {
    let failed = |error| Failure::Server { label, error };
    let sink = client.copy_in::<_, Bytes>(statement).await.map_err(failed)?;
    let mut sink = pin!(sink);
    let Buffers { scratch, copy, .. } = buffers;
    copy.clear();
    for &change in indexes {
        // Leaving without finish() aborts the COPY.
        copy_line(changes[change].row_json(), slots, scratch, copy)
            .map_err(|error| Failure::Encode { change, error })?;
        if copy.len() >= COPY_CHUNK {
            sink.feed(copy.split().freeze()).await.map_err(failed)?;
            // Takes the memory back that has been sent.
            copy.reserve(COPY_CHUNK + COPY_CHUNK / 4);
        }
    }
    if !copy.is_empty() {
        sink.feed(copy.split().freeze()).await.map_err(failed)?;
    }
    sink.finish().await.map_err(failed)?;
    Ok(())
}
