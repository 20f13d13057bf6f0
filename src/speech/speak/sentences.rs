//! Where a sentence ends: for whole texts and for text that is still being written.
//!
//! | After … | a sentence ends |
//! |---|---|
//! | `!` `?` `…`, a line end | always |
//! | `.` between digits (`3.30`), inside a word (`example.com`) | never: no space follows |
//! | `.` of a title (`Dr.`) or an initial (`J.`) | never |
//! | `.` of `p.m.`, `etc.`, `Inc.` | when a capital, a digit or nothing follows |
//! | any other `.` before a space | always |
//! | [`LONGEST`] characters without any of these | at the last comma, else at the last space |

/// Longest piece in bytes that is handed to the voice.
pub const LONGEST: usize = 240;

/// Abbreviations that stand before a name or number, so that no sentence ends there.
const TITLES: [&str; 18] = [
    "dr", "mr", "mrs", "ms", "prof", "st", "rev", "hon", "gen", "col", "capt", "lt", "sgt", "no", "vs", "approx",
    "e.g", "i.e",
];

/// Abbreviations that may end a sentence.
const ENDINGS: [&str; 10] = ["a.m", "p.m", "etc", "inc", "ltd", "co", "corp", "jr", "sr", "u.s"];

/// The sentences of a whole text, trimmed, without empty ones.
pub fn sentences(text: &str) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut found = splitter.push(text);
    found.extend(splitter.finish());
    found
}

/// Cuts sentences out of text that arrives in pieces.
#[derive(Debug, Default)]
pub struct Splitter {
    pending: String,
}

impl Splitter {
    /// Adds `text`; returns the sentences that are now surely complete.
    pub fn push(&mut self, text: &str) -> Vec<String> {
        self.pending.push_str(text);
        self.cut(false)
    }

    /// The text is complete: the rest, in sentences.
    pub fn finish(&mut self) -> Vec<String> {
        let mut found = self.cut(true);
        found.extend(worded(&std::mem::take(&mut self.pending)));
        found
    }

    fn cut(&mut self, complete: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(length) = first_end(&self.pending[from..], complete) {
            found.extend(worded(&self.pending[from..from + length]));
            from += length;
        }
        self.pending.drain(..from);
        found
    }
}

/// `text` trimmed, when it holds anything that can be spoken.
fn worded(text: &str) -> Option<String> {
    text.chars().any(char::is_alphanumeric).then(|| text.trim().to_owned())
}

/// Bytes of the first sentence of `text`, or `None` while its end is not in sight. Always a character boundary > 0.
fn first_end(text: &str, complete: bool) -> Option<usize> {
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        if end > LONGEST {
            return Some(soft_end(&text[..at]).unwrap_or(at.max(1)));
        }
        match character {
            '\n' => return Some(end),
            '!' | '?' | '…' | '.' => {
                let closed = end + closing(&text[end..], LONGEST - end);
                match after(&text[closed..]) {
                    Next::Unknown if !complete => return None,
                    Next::Attached => {}
                    next => {
                        if character != '.' || full_stop_ends(&text[..at], next) {
                            return Some(closed);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    None
}

/// What follows a terminator.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// Nothing yet, or only spaces.
    Unknown,
    /// No space: the mark is inside a word or number.
    Attached,
    Lower,
    /// A capital, a digit, a quotation mark, a line end …
    Other,
}

fn after(rest: &str) -> Next {
    let Some(first) = rest.chars().next() else { return Next::Unknown };
    if !first.is_whitespace() {
        return Next::Attached;
    }
    match rest.chars().find(|character| *character == '\n' || !character.is_whitespace()) {
        None => Next::Unknown,
        Some(character) if character.is_lowercase() => Next::Lower,
        Some(_) => Next::Other,
    }
}

/// Bytes of further terminators, quotes and brackets that belong to the sentence, `most` at most.
fn closing(rest: &str, most: usize) -> usize {
    let is_closing = |character: char| matches!(character, '.' | '!' | '?' | '"' | '\'' | ')' | ']' | '”' | '’' | '»');
    let marks = rest.char_indices().map(|(at, character)| (at + character.len_utf8(), character));
    marks.take_while(|(end, character)| is_closing(*character) && *end <= most).last().map_or(0, |(end, _)| end)
}

/// Whether the full stop after `before` ends a sentence, given what follows.
fn full_stop_ends(before: &str, next: Next) -> bool {
    let word = before.rsplit(|character: char| character.is_whitespace() || "(\"'“".contains(character)).next();
    let word = word.unwrap_or_default().to_lowercase();
    let initial = word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "i";
    if TITLES.contains(&word.as_str()) {
        // "The answer is no. Please call back": a title is only one before something it can stand for.
        return word == "no" && next == Next::Other;
    }
    if ENDINGS.contains(&word.as_str()) {
        return next != Next::Lower;
    }
    !initial || next == Next::Unknown
}

/// A place to breathe in a piece that is too long.
fn soft_end(text: &str) -> Option<usize> {
    let comma = text.rfind([',', ';', ':']).map(|at| at + 1);
    comma.filter(|at| *at > LONGEST / 3).or_else(|| text.rfind(char::is_whitespace)).filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn copes_with_titles_times_and_numbers() {
        let text = "Dr. Smith will see you at 3.30 p.m. on Tuesday. It costs 19.99 dollars! Will J. Doe come? See example.com.";
        assert_eq!(
            sentences(text),
            [
                "Dr. Smith will see you at 3.30 p.m. on Tuesday.",
                "It costs 19.99 dollars!",
                "Will J. Doe come?",
                "See example.com."
            ]
        );
        assert_eq!(
            sentences("We open at 8 a.m. Please come. Bring e.g. a coat."),
            ["We open at 8 a.m.", "Please come.", "Bring e.g. a coat."]
        );
        assert_eq!(
            sentences("He said \"stop.\" Then he left... Fine"),
            ["He said \"stop.\"", "Then he left...", "Fine"]
        );
        assert_eq!(sentences("The answer is no. Call back."), ["The answer is no.", "Call back."]);
    }

    #[test]
    fn lines_end_sentences_and_empty_ones_vanish() {
        assert_eq!(sentences("Hello\n\n- one\n - - -\n"), ["Hello", "- one"]);
        assert!(sentences(" … !?").is_empty());
    }

    #[test]
    fn a_sentence_comes_out_of_a_stream_as_soon_as_it_is_sure() {
        let mut splitter = Splitter::default();
        assert!(splitter.push("Hello Dr").is_empty());
        assert!(splitter.push(". Who. ").is_empty());
        assert_eq!(splitter.push("I am fi"), ["Hello Dr. Who."]);
        assert_eq!(splitter.push("ne! B"), ["I am fine!"]);
        assert_eq!(splitter.finish(), ["B"]);
    }

    #[test]
    fn breathes_at_a_comma_in_a_piece_that_is_too_long() {
        let text = format!("{}, and {}", "word ".repeat(30).trim_end(), "more ".repeat(60));
        let pieces = sentences(&text);
        assert!(pieces[0].ends_with(','), "{pieces:?}");
        assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
    }

    proptest! {
        #[test]
        fn pieces_are_short_and_lose_no_word(text in "\\PC{0,900}", cut in 0usize..900) {
            let kept = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            let whole = sentences(&text);
            prop_assert!(whole.iter().all(|piece| piece.len() <= LONGEST));
            prop_assert_eq!(kept(&whole.concat()), kept(&text));
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let mut splitter = Splitter::default();
            let mut pieces = splitter.push(&text[..cut]);
            pieces.extend(splitter.push(&text[cut..]));
            pieces.extend(splitter.finish());
            prop_assert_eq!(kept(&pieces.concat()), kept(&text));
        }
    }
}
