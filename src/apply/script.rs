//! A batch of statements for the simple protocol that remembers what each of them is for.

use super::encode::EncodeError;

/// What a statement belongs to: says where an error happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    /// Opening the transaction.
    Open,
    /// Moving the positions.
    Positions,
    /// Emptying tables.
    Truncates,
    /// All changes of a group, by its index in the plan.
    Group(usize),
    /// The rows of a group on their way into their table by COPY, by its index in the plan.
    Insert(usize),
    /// One change, by its index in the batch.
    Change(usize),
    /// Removing rows that are gone, by the sweep's index in the batch.
    Sweep(usize),
    /// The constraints that were put off, and the cut.
    Close,
    /// The commit.
    Commit,
}

/// Statements to be sent at once.
#[derive(Debug, Default)]
pub(super) struct Script {
    text: Vec<u8>,
    labels: Vec<Label>,
}

impl Script {
    /// Appends a statement.
    pub(super) fn push(&mut self, label: Label, statement: &str) {
        self.text.extend_from_slice(statement.as_bytes());
        self.end(label);
    }

    /// Appends a statement that `write` writes.
    pub(super) fn write(
        &mut self,
        label: Label,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        write(&mut self.text)?;
        self.end(label);
        Ok(())
    }

    fn end(&mut self, label: Label) {
        self.text.extend_from_slice(b";\n");
        self.labels.push(label);
    }

    /// Returns the text. Values come from JSON strings, so it is UTF-8.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.text).expect("statements and JSON strings are UTF-8")
    }

    /// Returns what the statement with this number is for; the last one's label behind the end.
    pub(super) fn label(&self, statement: usize) -> Label {
        self.labels.get(statement).or(self.labels.last()).copied().unwrap_or(Label::Open)
    }

    /// Returns the bytes of the text.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Empties the script and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.labels.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_keep_their_labels() {
        let mut script = Script::default();
        script.push(Label::Open, "begin");
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(b"select 'x'");
            Ok(())
        };
        script.write(Label::Change(7), write).unwrap();
        assert_eq!(script.text(), "begin;\nselect 'x';\n");
        assert_eq!((script.label(1), script.label(9)), (Label::Change(7), Label::Change(7)));
        script.clear();
        assert_eq!((script.len(), script.label(0)), (0, Label::Open));
    }
}
