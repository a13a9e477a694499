//! A text that is shown again and again: in place on a terminal, one behind the other elsewhere.

use std::io::{self, Write as _};

use console::Term;

/// Where it is shown. Lines are written over with one write, so that nothing flickers.
pub(super) struct Screen {
    term: Term,
    in_place: bool,
    /// Lines of the last text.
    lines: usize,
    /// An empty line stands between two texts where they are not in place.
    apart: bool,
    first: bool,
}

impl Screen {
    /// `may_replace`: the text is for people.
    pub(super) fn new(may_replace: bool) -> Self {
        let term = Term::stdout();
        let in_place = may_replace && term.is_term();
        if in_place {
            // A cursor that stays where it is shown is no harm.
            term.hide_cursor().ok();
        }
        Self { term, in_place, lines: 0, apart: may_replace, first: true }
    }

    pub(super) fn show(&mut self, text: &str) -> io::Result<()> {
        if !self.in_place {
            let gap = if self.apart && !self.first { "\n" } else { "" };
            self.first = false;
            let mut out = io::stdout().lock();
            write!(out, "{gap}{text}")?;
            return out.flush();
        }
        let (height, width) = self.term.size();
        let shown = over(self.lines, text, usize::from(height).max(2), usize::from(width).max(1));
        self.lines = text.lines().count().min(usize::from(height).max(2) - 1);
        self.term.write_str(&shown)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.in_place {
            self.term.show_cursor().ok();
        }
    }
}

/// Returns what writes `text` over the last `lines` lines. A line that were wrapped, or scrolled away, would not be found
/// again: lines are cut to the width, and the text to the height.
fn over(lines: usize, text: &str, height: usize, width: usize) -> String {
    let mut shown = String::new();
    if lines > 0 {
        shown.push_str(&format!("\x1b[{lines}A\r"));
    }
    for line in text.lines().take(height - 1) {
        shown.extend(line.chars().filter(|c| !c.is_control()).take(width));
        // The rest of the former line, then of the former text.
        shown.push_str("\x1b[K\n");
    }
    shown.push_str("\x1b[J");
    shown
}

#[cfg(test)]
mod tests {
    use super::over;

    #[test]
    fn a_text_is_written_over_the_former_one_and_fits_the_terminal() {
        assert_eq!(over(0, "one\ntwo\n", 24, 80), "one\x1b[K\ntwo\x1b[K\n\x1b[J");
        assert_eq!(over(2, "three\n", 24, 4), "\x1b[2A\rthre\x1b[K\n\x1b[J");
        assert_eq!(over(0, "1\n2\n3\n", 3, 80), "1\x1b[K\n2\x1b[K\n\x1b[J");
        assert_eq!(over(0, "a\x1b[2Jb\n", 3, 80), "a[2Jb\x1b[K\n\x1b[J");
    }
}
