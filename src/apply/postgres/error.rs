//! What an error of the destination means, without the values that PostgreSQL puts into its messages.

use std::fmt;

use tokio_postgres::error::DbError;

use super::super::encode::EncodeError;
use super::super::script::Label;
use super::blame::Culprit;
use crate::consume::TargetError;
use crate::session::SessionError;
use crate::table::TableName;

/// Name of the target in messages.
pub(super) const NAME: &str = "postgres";

/// What the server said, without row values: code, condition and the names it gives.
#[derive(Debug)]
pub(super) struct ServerError {
    code: String,
    names: Vec<(&'static str, String)>,
    message: Option<String>,
}

impl ServerError {
    /// Takes over code and names alone: DETAIL, CONTEXT and many messages of data errors hold values.
    pub(super) fn terse(error: &DbError) -> Self {
        let names = [
            ("constraint", error.constraint()),
            ("table", error.table()),
            ("column", error.column()),
            ("type", error.datatype()),
        ];
        let names = names.into_iter().filter_map(|(what, name)| Some((what, name?.to_owned()))).collect();
        Self { code: error.code().code().to_owned(), names, message: None }
    }

    /// Takes over the message as well: for statements in which no row takes part.
    pub(super) fn full(error: &DbError) -> Self {
        Self { message: Some(error.message().to_owned()), ..Self::terse(error) }
    }

    /// Names the column that was found to be the cause.
    fn blame(mut self, culprit: Option<Culprit>) -> Self {
        if let Some(Culprit { column, declared }) = culprit {
            self.names.retain(|(what, _)| !matches!(*what, "column" | "type"));
            self.names.extend([("column", column), ("type", declared)]);
        }
        self
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "{message} ({})", self.code)?,
            None => write!(f, "{} ({})", condition(&self.code), self.code)?,
        }
        self.names.iter().try_for_each(|(what, name)| write!(f, ", {what} \"{name}\""))
    }
}

impl std::error::Error for ServerError {}

/// Returns PostgreSQL's name of the conditions that rows and tables bring about.
fn condition(code: &str) -> &'static str {
    match code {
        "21000" => "cardinality_violation",
        "22001" => "string_data_right_truncation",
        "22003" => "numeric_value_out_of_range",
        "22007" => "invalid_datetime_format",
        "22008" => "datetime_field_overflow",
        "22012" => "division_by_zero",
        "22021" => "character_not_in_repertoire",
        "22026" => "string_data_length_mismatch",
        "22P02" => "invalid_text_representation",
        "22P03" => "invalid_binary_representation",
        "22P05" => "untranslatable_character",
        "23502" => "not_null_violation",
        "23503" => "foreign_key_violation",
        "23505" => "unique_violation",
        "23514" => "check_violation",
        "23P01" => "exclusion_violation",
        "25006" => "read_only_sql_transaction",
        "40001" => "serialization_failure",
        "40P01" => "deadlock_detected",
        "42501" => "insufficient_privilege",
        "42703" => "undefined_column",
        "42704" => "undefined_object",
        "42804" => "datatype_mismatch",
        "42883" => "undefined_function",
        "42P01" => "undefined_table",
        "42P10" => "invalid_column_reference",
        "53100" => "disk_full",
        "53200" => "out_of_memory",
        "53300" => "too_many_connections",
        "54000" => "program_limit_exceeded",
        "55P03" => "lock_not_available",
        "57014" => "query_canceled",
        "57P01" => "admin_shutdown",
        "57P02" => "crash_shutdown",
        "57P03" => "cannot_connect_now",
        "P0001" => "raise_exception",
        "XX000" => "internal_error",
        "XX001" => "data_corrupted",
        _ => "error",
    }
}

/// Where and why an attempt to apply a batch ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server, or the way to it.
    Server { label: Label, error: tokio_postgres::Error },
    /// A row that cannot be written, by its index in the batch.
    Encode { change: usize, error: EncodeError },
}

impl Failure {
    fn code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => error.code().map(|code| code.code()),
            Self::Encode { .. } => None,
        }
    }

    /// Returns the name of the condition, for the log.
    pub(super) fn cause(&self) -> &'static str {
        self.code().map_or("none", condition)
    }

    /// Tells whether a compare-and-set of the positions failed.
    pub(super) fn is_overtaken(&self) -> bool {
        matches!(self, Self::Server { label: Label::Positions, .. }) && self.code() == Some("22012")
    }

    /// Tells whether the batch may pass change by change, or whether that names the change that does not.
    pub(super) fn is_replayable(&self) -> bool {
        let inside = |label| matches!(label, Label::Truncates | Label::Group(_) | Label::Close);
        let inside = matches!(self, Self::Server { label, .. } if inside(*label));
        inside && self.code().is_some_and(|code| !is_passing(code) && !code.starts_with("42"))
    }

    /// Tells whether COPY could not bring rows into their table: a key was there already, or something that the way through a
    /// stage will tell.
    pub(super) fn is_insert(&self) -> bool {
        matches!(self, Self::Server { label: Label::Insert(_), .. }) && !self.is_passing()
    }

    /// Tells whether a constraint that was put off does not hold yet.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self, Self::Server { label: Label::Close, .. }) && self.is_constraint()
    }

    /// Returns the change with a value that its column does not take, by its index in the batch.
    pub(super) fn misfit(&self) -> Option<usize> {
        match self {
            Self::Server { label: Label::Change(index), .. }
                if self.code().is_some_and(|code| code.starts_with("22")) =>
            {
                Some(*index)
            }
            _ => None,
        }
    }

    /// Tells whether a value is taken by another row.
    pub(super) fn is_conflict(&self) -> bool {
        self.code().is_some_and(|code| matches!(code, "23505" | "23P01"))
    }

    /// Tells whether the change may pass behind others: a value that is taken, a row that is missing or still referenced.
    pub(super) fn is_order(&self) -> bool {
        self.is_conflict() || self.code() == Some("23503")
    }

    fn is_constraint(&self) -> bool {
        self.code().is_some_and(|code| code.starts_with("23"))
    }

    /// Tells whether the same batch may pass later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Server { .. } => self.code().is_none_or(is_passing),
            Self::Encode { .. } => false,
        }
    }

    /// Tells whether the destination no longer looks as it did when its tables were inspected.
    pub(super) fn is_stale(&self) -> bool {
        self.code().is_some_and(|code| code.starts_with("42"))
    }
}

/// Tells whether an SQLSTATE goes away by itself: connection, resources, operator, lock, conflict, standby.
fn is_passing(code: &str) -> bool {
    ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
        || matches!(code, "55P03" | "55006" | "25006" | "25P03")
}

/// Wraps the way to the server being gone, or the server asking to come back.
pub(super) fn unavailable(what: &str, error: tokio_postgres::Error) -> TargetError {
    let source: Box<dyn std::error::Error + Send + Sync> = match error.as_db_error() {
        Some(db) => Box::new(ServerError::terse(db)),
        None => Box::new(error),
    };
    TargetError::Unavailable { target: NAME, what: what.to_owned(), source }
}

/// Judges an error of a statement in which no row takes part.
pub(super) fn setup(what: &str, error: tokio_postgres::Error) -> TargetError {
    match error.as_db_error() {
        Some(db) if !is_passing(db.code().code()) => TargetError::Setup {
            target: NAME,
            why: what.to_owned(),
            source: Some(Box::new(ServerError::full(db))),
        },
        _ => unavailable(what, error),
    }
}

/// Judges an error of opening the session.
pub(super) fn connecting(error: SessionError) -> TargetError {
    let refused = match &error {
        SessionError::Url { .. } | SessionError::Tls { .. } | SessionError::Distrust { .. } => true,
        // Wrong password, no such role or database: waiting does not help.
        SessionError::Connect { source, .. } => {
            source.code().is_some_and(|code| code.code().starts_with("28") || code.code() == "3D000")
        }
    };
    let source = Box::new(error);
    match refused {
        true => TargetError::Setup { target: NAME, why: "cannot log in".into(), source: Some(source) },
        false => TargetError::Unavailable { target: NAME, what: "connecting".into(), source },
    }
}

/// Judges an error that no row has caused: a right is missing, or a table is not as it was looked at just before.
pub(super) fn unwritable(failure: &Failure, table: &TableName) -> TargetError {
    let (table, source) = match failure {
        Failure::Server { label, error } => {
            let ours = matches!(label, Label::Open | Label::Positions | Label::Close);
            let table =
                if ours { "tripline.positions and tripline.cuts".to_owned() } else { table.to_string() };
            (table, error.as_db_error().map(ServerError::terse))
        }
        Failure::Encode { .. } => (table.to_string(), None),
    };
    TargetError::Setup {
        target: NAME,
        why: format!(
            "cannot write to {table}; check the role's rights, the columns and what triggers there do"
        ),
        source: source.map(|source| Box::new(source) as _),
    }
}

/// Builds the refusal of a change; `table` and `cdc_id` are the best that is known.
///
/// `silent`: foreign keys and triggers of the destination are quiet. `culprit`: the column that does not take its value.
pub(super) fn refused(
    failure: Failure,
    table: TableName,
    cdc_id: Option<u64>,
    silent: bool,
    culprit: Option<Culprit>,
) -> TargetError {
    let way_out = match failure.is_order() && !silent {
        true => {
            "; the applier's role has to keep every foreign key at every statement: let it set session_replication_role \
             (GRANT SET ON PARAMETER, from PostgreSQL 15 on)"
        }
        false => "",
    };
    let refused = |table, why: &str, source| TargetError::Refused {
        target: NAME,
        table,
        cdc_id,
        why: format!("{why}{way_out}"),
        source: Some(source),
    };
    match failure {
        Failure::Encode { error, .. } => {
            refused(table, "the message does not fit the table", Box::new(error))
        }
        Failure::Server { label, error } => {
            let Some(db) = error.as_db_error() else { return unavailable("applying a batch", error) };
            let named = |db: &DbError| Some(TableName::new(db.schema()?, db.table()?));
            let table = if cdc_id.is_none() { named(db).unwrap_or(table) } else { table };
            let why = match label {
                Label::Sweep(_) if db.code().code() == "22012" => {
                    "its rows are copied anew, and which of them are gone cannot be told: a BEFORE UPDATE trigger of the \
                     destination may keep rows from being written (disable it until then), or the copying began at another \
                     server (`tripline offset reset`)"
                }
                Label::Sweep(_) => "rows that are gone at the source cannot be removed",
                Label::Change(_) if culprit.is_some() => {
                    "a column of the destination does not take its value; alter the column there and start again"
                }
                Label::Change(_) => "the destination refuses it",
                Label::Close | Label::Commit => "a constraint is violated at the end of the batch",
                _ => "the destination refuses the batch",
            };
            refused(table, why, Box::new(ServerError::terse(db).blame(culprit)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_tried_again() {
        for code in ["08006", "40001", "40P01", "53300", "57P01", "57014", "55P03", "25006"] {
            assert!(is_passing(code), "{code}");
        }
        for code in ["23505", "22001", "42P01", "28P01", "21000", "P0001", "XX000"] {
            assert!(!is_passing(code), "{code}");
        }
    }

    #[test]
    fn server_errors_print_names_only() {
        let error = ServerError {
            code: "23505".into(),
            names: vec![("constraint", "orders_pkey".into())],
            message: None,
        };
        assert_eq!(error.to_string(), "unique_violation (23505), constraint \"orders_pkey\"");
    }
}
