//! What the demo looks like: colour where there is a terminal, one status line that is redrawn in place, plain lines
//! otherwise.

use std::io::{IsTerminal, Write};

/// Columns that text is wrapped to.
pub(super) const WIDTH: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tint {
    Faint,
    Strong,
    Good,
    Agent,
    Caller,
}

pub(super) struct Terminal {
    colour: bool,
    redraw: bool,
    status: String,
}

impl Terminal {
    /// Colour and redrawing only on a terminal; <https://no-color.org>.
    pub(super) fn new() -> Terminal {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let redraw = std::io::stdout().is_terminal() && std::env::var("TERM").map_or(true, |term| term != "dumb");
        Terminal { colour: redraw && !set("NO_COLOR"), redraw, status: String::new() }
    }

    pub(super) fn redraws(&self) -> bool {
        self.redraw
    }

    pub(super) fn tint(&self, tint: Tint, text: &str) -> String {
        tinted(self.colour, tint, text)
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        let clear = if self.status.is_empty() { "" } else { "\r\x1b[2K" };
        let _ = writeln!(out, "{clear}{text}");
        let _ = write!(out, "{}", self.status);
        let _ = out.flush();
    }

    /// The line below the last one, redrawn in place; nothing without a terminal.
    pub(super) fn status(&mut self, text: &str) {
        if !self.redraw || self.status == text {
            return;
        }
        self.status = text.to_owned();
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r\x1b[2K{text}");
        let _ = out.flush();
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.line("");
        let text = self.tint(Tint::Strong, text);
        self.line(&text);
    }
}

fn tinted(colour: bool, tint: Tint, text: &str) -> String {
    let code = match tint {
        Tint::Faint => "2",
        Tint::Strong => "1",
        Tint::Good => "32",
        Tint::Agent => "36",
        Tint::Caller => "33",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A bar of eight for -60 to -6 dBFS.
pub(super) fn meter(level_db: f32) -> String {
    let filled = if level_db.is_finite() { ((level_db + 60.0) / 54.0 * 8.0).round().clamp(0.0, 8.0) } else { 0.0 };
    let filled = filled as usize;
    "█".repeat(filled) + &"░".repeat(8 - filled)
}

/// Breaks `text` into lines that fit beside an indent of `indent` columns.
pub(super) fn wrap(text: &str, indent: usize) -> Vec<String> {
    let room = WIDTH.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full =
            lines.last().is_some_and(|line| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The last `most` columns of `text`: what was said just now.
pub(super) fn tail(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        text.to_owned()
    } else {
        format!("…{}", text.chars().skip(count + 1 - most).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_rise_with_the_level() {
        assert_eq!(meter(-90.0), "░░░░░░░░");
        assert_eq!(meter(f32::NEG_INFINITY), "░░░░░░░░");
        assert_eq!(meter(-33.0), "████░░░░");
        assert_eq!(meter(0.0), "████████");
    }

    #[test]
    fn without_colour_there_are_no_escapes() {
        assert_eq!(tinted(false, Tint::Good, "x"), "x");
        assert_eq!(tinted(true, Tint::Good, "x"), "\x1b[32mx\x1b[0m");
    }

    #[test]
    fn long_text_is_broken_between_words() {
        let lines = wrap(&"word ".repeat(40), 16);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(tail("abcdef", 4), "…def");
    }
}
