//! docs/operations.md has an entry for every message of an error that the program can end with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Words of a message that its entry begins with.
const WORDS: usize = 8;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The messages of `#[error("…")]` in a source file, as they are written there.
fn messages(source: &str) -> Vec<String> {
    let rest = source.split("#[error(").skip(1).map(str::trim_start);
    let literal = |text: &str| {
        let text = text.strip_prefix('"')?;
        let mut message = String::new();
        let mut chars = text.chars();
        loop {
            match chars.next()? {
                '"' => return Some(message),
                '\\' => match chars.next()? {
                    'n' => message.push(' '),
                    '\n' => chars = chars.as_str().trim_start().chars(),
                    other => message.push(other),
                },
                other => message.push(other),
            }
        }
    };
    rest.filter_map(literal).collect()
}

/// What an entry begins with: the message's first words, an ellipsis for all that differs from case to case.
fn entry(message: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    for c in message.chars() {
        match c {
            '{' => {
                depth += 1;
                text.push('…');
            }
            '}' => depth -= 1,
            _ if depth > 0 => {}
            c => text.push(c),
        }
    }
    text.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_message_has_an_entry_in_the_operations_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let (mut missing, mut count) = (String::new(), 0);
    for file in files {
        for message in messages(&std::fs::read_to_string(&file).unwrap()) {
            let entry = entry(&message);
            count += 1;
            if !page.contains(&format!("`{entry}")) {
                writeln!(missing, "| `{entry}` | {} |", file.strip_prefix(root).unwrap().display()).unwrap();
            }
        }
    }
    assert!(count > 100, "only {count} messages found");
    assert!(missing.is_empty(), "docs/operations.md lacks:\n{missing}");
}

#[test]
fn messages_are_found_and_cut_as_entries_are() {
    let source = "#[error(\"a \\\"{b}\\\" \\\n   c {:?}; d e f g h\", x)] A, #[error(transparent)] B, #[error(\n \"i\\n {j}\")]";
    assert_eq!(
        messages(source).iter().map(|m| entry(m)).collect::<Vec<_>>(),
        ["a \"…\" c …; d e f g", "i …"]
    );
}
