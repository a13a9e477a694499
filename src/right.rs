//! Rights that a role lacks, each with the statement that gives it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A right that a role lacks, as the server's catalog says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// The role.
    pub role: String,
    /// `select`, `usage`, …
    pub right: String,
    /// Kind and name of what it is a right on: `table cdc.orders_cdc`.
    pub object: String,
    /// The statement that gives it.
    pub grant: String,
    /// Changes pass without it: it is for copying and comparing existing rows.
    pub for_copies: bool,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: run `{}`", self.right, self.object, self.grant)
    }
}
