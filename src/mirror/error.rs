//! What ClickHouse's answers mean: come back later, or a person has to look.

use std::fmt;

use crate::consume::TargetError;

/// Name of this target in messages.
pub(super) const NAME: &str = "clickhouse";

/// An error of the server, or of something in front of it that speaks HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerError {
    /// ClickHouse's number, where the answer has one.
    pub(super) code: Option<u32>,
    /// ClickHouse's name for it, or the HTTP status.
    pub(super) name: String,
    /// The server's own words. They can quote values when rows were sent, and are left out then.
    pub(super) message: Option<String>,
}

impl std::error::Error for ServerError {}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, self.code) {
            (Some(message), _) => f.write_str(message),
            (None, Some(code)) => write!(f, "code {code} ({})", self.name),
            (None, None) => f.write_str(&self.name),
        }
    }
}

/// Most characters of a server's message that go into an error.
const MAX_MESSAGE: usize = 400;

impl ServerError {
    /// Reads `Code: 252. DB::Exception: Too many parts … (TOO_MANY_PARTS) (version …)` or `503 Service Unavailable`.
    pub(super) fn parse(text: &str, quotes_values: bool) -> Self {
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let code = text.split("Code: ").nth(1).and_then(|rest| digits(rest).parse().ok());
        let constant = |word: &&str| {
            word.len() > 3 && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let name = match code {
            Some(_) => {
                let words = text.rsplit('(').filter_map(|part| Some(part.split_once(')')?.0));
                words.filter(|word| constant(word)).map(str::to_owned).next().unwrap_or_default()
            }
            None if digits(text).len() == 3 => text.chars().take(40).collect(),
            None => "an answer that is not ClickHouse's".to_owned(),
        };
        let message = (code.is_some() && !quotes_values).then(|| text.chars().take(MAX_MESSAGE).collect());
        Self { code, name, message }
    }

    /// Tells whether the same request can succeed later without anybody doing something.
    pub(super) fn is_passing(&self) -> bool {
        /// Timeouts, too many queries, network, Keeper, memory, disk space, too many parts, lost replicas, unknown
        /// outcome, cancelled by a shutdown: all of them end.
        const PASSING: [u32; 33] = [
            95, 96, 159, 160, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 244, 252, 254, 279, 285, 286,
            289, 319, 364, 394, 439, 473, 499, 574, 700, 722, 733, 745, 999,
        ];
        match self.code {
            Some(code) => PASSING.contains(&code),
            None => ["5", "408", "429"].iter().any(|status| self.name.starts_with(status)),
        }
    }

    /// Tells whether the table no longer has the shape that the mirror found when it looked.
    pub(super) fn is_other_shape(&self) -> bool {
        // In this order: no such column, type mismatch, no such table, no such database, other types in the header.
        matches!(self.code, Some(16 | 53 | 60 | 81 | 117))
    }
}

/// Builds [`TargetError::Setup`] without a cause.
pub(super) fn setup(why: String) -> TargetError {
    TargetError::Setup { target: NAME, why, source: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_read_and_messages_kept_only_without_rows() {
        let text = "Code: 252. DB::Exception: Too many parts (300). Merges (are) slow. (TOO_MANY_PARTS) (version 26.9)";
        let error = ServerError::parse(text, true);
        assert_eq!((error.code, error.name.as_str()), (Some(252), "TOO_MANY_PARTS"));
        assert_eq!(error.to_string(), "code 252 (TOO_MANY_PARTS)");
        assert!(error.is_passing() && !error.is_other_shape());
        assert_eq!(ServerError::parse(text, false).to_string(), text);
    }

    #[test]
    fn what_a_proxy_says_is_judged_by_its_status() {
        assert!(ServerError::parse("503 Service Unavailable", true).is_passing());
        assert!(!ServerError::parse("404 Not Found", true).is_passing());
        let page = ServerError::parse("<html>secret</html>", true);
        assert!(!page.is_passing() && !page.to_string().contains("secret"));
    }

    #[test]
    fn a_missing_right_or_a_wrong_password_does_not_pass() {
        for code in [33, 497, 516, 164, 115, 62] {
            assert!(!ServerError::parse(&format!("Code: {code}. DB::Exception: x"), false).is_passing());
        }
    }
}
