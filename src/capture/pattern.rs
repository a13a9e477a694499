//! Patterns over `schema.table`: which tables are captured.

use crate::table::TableName;

use super::error::CaptureError;

/// The patterns of `source.tables`.
#[derive(Debug)]
pub(super) struct Patterns {
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Patterns {
    /// Takes the patterns apart; those with a leading `!` exclude, wherever they stand.
    pub(super) fn parse(patterns: &[String]) -> Result<Self, CaptureError> {
        let bad = |pattern: &str, why| Err(CaptureError::Pattern { pattern: pattern.to_owned(), why });
        let (mut include, mut exclude) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let (list, text) = match pattern.strip_prefix('!') {
                Some(text) => (&mut exclude, text),
                None => (&mut include, pattern.as_str()),
            };
            match text.split_once('.') {
                Some((schema, table)) if !schema.is_empty() && !table.is_empty() => {
                    list.push(text.to_owned())
                }
                _ => return bad(pattern, "is not of the form schema.table, with * for any text"),
            }
        }
        if include.is_empty() {
            return bad("", "names no table; give at least one pattern, for example public.*");
        }
        Ok(Self { include, exclude })
    }

    /// Tells whether a table is captured.
    pub(super) fn matches(&self, table: &TableName) -> bool {
        let name = table.to_string();
        self.include.iter().any(|pattern| glob(pattern, &name))
            && !self.exclude.iter().any(|pattern| glob(pattern, &name))
    }

    /// Returns the patterns that include and those that exclude as LIKE knows them.
    pub(super) fn like(&self) -> (Vec<String>, Vec<String>) {
        let likes = |patterns: &[String]| patterns.iter().map(|pattern| like(pattern)).collect();
        (likes(&self.include), likes(&self.exclude))
    }

    /// Fails when a pattern names none of `tables`. An excluding pattern with a `*` may: it is a precaution.
    pub(super) fn all_match(&self, tables: &[TableName]) -> Result<(), CaptureError> {
        let names: Vec<String> = tables.iter().map(TableName::to_string).collect();
        let dead = |pattern: &&String| !names.iter().any(|name| glob(pattern, name));
        let exact = self.exclude.iter().filter(|pattern| !pattern.contains('*'));
        match self.include.iter().chain(exact).find(dead) {
            Some(pattern) => Err(CaptureError::Pattern {
                pattern: pattern.clone(),
                why: "matches no table; correct it or take it out",
            }),
            None => Ok(()),
        }
    }
}

/// Returns the pattern as one of LIKE.
pub(super) fn like(pattern: &str) -> String {
    let escaped = pattern.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    escaped.replace('*', "%")
}

/// Matches `*` against any text, dots among it, and everything else against itself.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Patterns {
        Patterns::parse(&list.iter().map(|&p| p.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn globs_match_as_written() {
        for (pattern, text, matches) in [
            ("public.*", "public.orders", true),
            ("public.*", "publicx.orders", false),
            ("*.*", "a.b", true),
            ("public.a*b", "public.ab", true),
            ("public.a*b", "public.acb", true),
            ("public.a*b", "public.abc", false),
            ("public.a*a", "public.a", false),
            ("public.*_*_x", "public.a_b_x", true),
            ("public.orders", "public.orders", true),
            ("public.orders", "public.Orders", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn excludes_win_wherever_they_stand() {
        for list in [["!public.audit", "public.*"], ["public.*", "!public.audit"]] {
            let patterns = patterns(&list);
            assert!(patterns.matches(&TableName::new("public", "orders")));
            assert!(!patterns.matches(&TableName::new("public", "audit")));
            assert!(!patterns.matches(&TableName::new("shop", "orders")));
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_named() {
        let tables = [TableName::new("public", "orders")];
        patterns(&["public.*", "!public.tmp_*"]).all_match(&tables).unwrap();
        for (list, culprit) in
            [(["public.*", "shop.*"], "shop.*"), (["public.*", "!public.audti"], "public.audti")]
        {
            let error = patterns(&list).all_match(&tables).unwrap_err().to_string();
            assert!(error.contains(culprit), "{error}");
        }
    }

    #[test]
    fn patterns_need_a_schema() {
        for list in [vec![], vec!["orders"], vec!["public."], vec!["!public.x"]] {
            let list: Vec<String> = list.into_iter().map(str::to_owned).collect();
            assert!(Patterns::parse(&list).is_err(), "{list:?}");
        }
    }
}
