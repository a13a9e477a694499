//! What of a table is captured: which columns, masked how, which rows. Compiled into the triggers, so that nothing else
//! leaves the table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::table::Column;

/// What of a table is captured; the default is all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// These columns alone; columns that come later are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// All columns but these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// What stands in for a column's values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mask: BTreeMap<String, Mask>,
    /// SQL condition over the row's columns: rows for which it is not true are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// What stands in for the values of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mask {
    /// SHA-256 of salt and text, in hexadecimal: equal values stay equal. NULL stays NULL.
    Hash,
    /// This value, for NULL too.
    Value(String),
    /// The first characters of the text. NULL stays NULL.
    Truncate(u32),
}

impl Selection {
    /// Tells whether the whole table is captured as it is.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether a column is captured.
    pub fn takes(&self, column: &str) -> bool {
        let is = |name: &String| name == column;
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(is)) && !self.exclude.iter().any(is)
    }

    /// Returns every name that the selection mentions, once for each time.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        let columns = self.columns.iter().flatten().chain(&self.exclude).chain(self.mask.keys());
        columns.map(String::as_str)
    }

    /// Tells whether some column's values are hashed.
    pub fn hashes(&self) -> bool {
        self.mask.values().any(|mask| *mask == Mask::Hash)
    }

    /// Returns the columns as they are logged and published, given those of the table.
    pub fn published(&self, columns: &[Column]) -> Vec<Column> {
        let taken = columns.iter().filter(|column| self.takes(&column.name));
        let masked = taken.map(|column| match self.mask.get(&column.name) {
            None => column.clone(),
            // What existing rows got when the column came is masked as any value.
            Some(Mask::Value(text)) => {
                let initial = column.initial.as_ref().map(|_| text.clone());
                Column { generated: false, initial, ..column.clone() }
            }
            Some(Mask::Hash | Mask::Truncate(_)) => Column {
                name: column.name.clone(),
                declared: "text".into(),
                base: "text".into(),
                delimiter: ',',
                not_null: column.not_null,
                enum_labels: None,
                generated: false,
                id: column.id,
                initial: None,
            },
        });
        masked.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, base: &str) -> Column {
        Column { not_null: true, generated: true, ..Column::new(name, base, base) }
    }

    #[test]
    fn columns_are_taken_or_left_and_masked_ones_are_text() {
        let table = [column("a", "int4"), column("b", "int4"), column("c", "varchar"), column("d", "int4")];
        let shown = |selection: &Selection| {
            let columns = selection.published(&table);
            let shown: Vec<String> =
                columns.iter().map(|c| format!("{}:{}:{}", c.name, c.base, c.generated)).collect();
            shown.join(" ")
        };
        let mut selection = Selection { exclude: vec!["d".into()], ..Selection::default() };
        assert!(!selection.is_everything() && Selection::default().is_everything());
        assert_eq!(shown(&selection), "a:int4:true b:int4:true c:varchar:true");
        selection.mask.insert("a".into(), Mask::Hash);
        selection.mask.insert("b".into(), Mask::Value("7".into()));
        selection.mask.insert("c".into(), Mask::Truncate(1));
        assert_eq!(shown(&selection), "a:text:false b:int4:false c:text:false");
        let only = Selection { columns: Some(vec!["d".into()]), ..Selection::default() };
        assert_eq!(shown(&only), "d:int4:true");
    }
}
