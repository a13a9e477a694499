//! Finds the column that a refused row is refused for, where the server does not say it.

use tokio_postgres::Client;

use super::super::encode::{Slot, literal_row};
use super::super::schema::Shape;
use super::super::sql::plan_one;
use crate::event::{Change, Op};

/// A column of the destination that does not take the value of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Culprit {
    /// Its name at the destination.
    pub(super) column: String,
    /// Its type there, as declared.
    pub(super) declared: String,
}

/// Asks for each column of the change by itself. The server only plans: it reads the value as the column's type, and
/// writes nothing.
///
/// Returns `None` where every column takes its value: together they break a constraint, or a trigger refuses the row.
pub(super) async fn culprit(client: &Client, change: &Change, shape: &Shape) -> Option<Culprit> {
    let (slots, types) = match change.op {
        Op::Delete => (&shape.key, &shape.key_types),
        _ => (&shape.columns, &shape.types),
    };
    for (slot, declared) in slots.iter().zip(types) {
        let statement = plan(change, slot, plan_one(shape, &slot.name))?;
        if let Err(error) = client.batch_execute(&statement).await {
            let of_a_value = error.code().is_some_and(|code| code.code().starts_with("22"));
            return of_a_value.then(|| Culprit { column: slot.name.clone(), declared: declared.clone() });
        }
    }
    None
}

fn plan(change: &Change, slot: &Slot, statement: String) -> Option<String> {
    let mut statement = statement.into_bytes();
    literal_row(change.row_json(), std::slice::from_ref(slot), &mut Vec::new(), &mut statement).ok()?;
    String::from_utf8(statement).ok()
}
