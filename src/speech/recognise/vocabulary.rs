//! Whisper's tokens: GPT-2's byte-level pieces, then control tokens, then timestamps; one a line in `vocabulary.txt`.

use std::collections::HashMap;
use std::path::Path;

/// Control tokens by number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Control {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) no_speech: u32,
    pub(super) no_timestamps: u32,
    /// A vocabulary of several languages also wants the language and the task named.
    pub(super) english: Option<(u32, u32)>,
}

pub(super) struct Vocabulary {
    /// Bytes of each text token; control tokens and timestamps are empty.
    pieces: Vec<Vec<u8>>,
    pub(super) control: Control,
    /// Tokens that must never be chosen: what is not speech, control tokens other than the end, timestamps.
    pub(super) suppressed: Vec<u32>,
    /// Tokens that must not come first.
    pub(super) blank: Vec<u32>,
}

impl Vocabulary {
    /// Reads `path`; `size` is the number of tokens that the model knows.
    pub(super) fn read(path: &Path, size: usize) -> Result<Vocabulary, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("vocabulary.txt cannot be read ({error})"))?;
        Vocabulary::parse(&text, size)
    }

    fn parse(text: &str, size: usize) -> Result<Vocabulary, String> {
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        if lines.len() != size {
            return Err(format!("vocabulary.txt has {} tokens, but model.bin knows {size}", lines.len()));
        }
        let control = Control::find(&lines)?;
        let bytes = byte_letters();
        let first_special = control.end.min(control.start);
        let pieces = lines
            .iter()
            .enumerate()
            .map(|(number, line)| if number as u32 >= first_special { Vec::new() } else { plain(line, &bytes) });
        let pieces: Vec<Vec<u8>> = pieces.collect();
        let special = (first_special..size as u32).filter(|token| *token != control.end);
        let suppressed = (0..first_special).filter(|token| !is_speech(&pieces[*token as usize])).chain(special);
        let blank = (0..first_special).filter(|token| pieces[*token as usize] == b" ").chain([control.end]);
        Ok(Vocabulary { suppressed: suppressed.collect(), blank: blank.collect(), pieces, control })
    }

    /// The words that `tokens` spell.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> =
            tokens.iter().filter_map(|token| self.pieces.get(*token as usize)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Control {
    fn find(lines: &[&str]) -> Result<Control, String> {
        let numbers: HashMap<&str, u32> = (0..).zip(lines).map(|(number, line)| (*line, number)).collect();
        let number = |name: &str| {
            numbers.get(name).copied().ok_or_else(|| format!("vocabulary.txt is damaged: it has no `{name}`"))
        };
        let start = number("<|startoftranscript|>")?;
        let end = number("<|endoftext|>")?;
        // The English-only models (51,864 tokens) name the languages too, but were never taught to use them.
        let many_languages = lines.len() > 51_864;
        Ok(Control {
            start,
            end,
            no_speech: number("<|nocaptions|>").or_else(|_| number("<|nospeech|>"))?,
            no_timestamps: number("<|notimestamps|>")?,
            english: if many_languages { Some((number("<|en|>")?, number("<|transcribe|>")?)) } else { None },
        })
    }
}

/// Whether a piece may be part of a transcript: brackets, music and the like describe sounds, not words.
fn is_speech(piece: &[u8]) -> bool {
    const SOUND: &str = "\"#()*+/:;<=>@[\\]^_`{|}~「」『』";
    const RUNS: [&str; 16] =
        ["<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", "(\"", "((", "))", "(((", ")))", "[[", "]]"];
    const NOTES: &str = "♩♪♫♬♭♮♯";
    let Ok(text) = std::str::from_utf8(piece) else {
        // Half a character: only the notes (E2 99 A9 … AF) begin with these two bytes.
        return !piece.starts_with(&[0xe2, 0x99]) && !piece.starts_with(&[b' ', 0xe2, 0x99]);
    };
    let bare = text.strip_prefix(' ').unwrap_or(text);
    let mut characters = bare.chars();
    let single = match (characters.next(), characters.next()) {
        (Some(character), None) => SOUND.contains(character) || (text.starts_with(' ') && "-'".contains(character)),
        _ => false,
    };
    !(single || RUNS.contains(&bare) || bare == "{{" || bare == "}}" || bare.chars().any(|c| NOTES.contains(c)))
}

fn plain(line: &str, bytes: &HashMap<char, u8>) -> Vec<u8> {
    line.chars().filter_map(|letter| bytes.get(&letter).copied()).collect()
}

/// GPT-2 writes every byte as one printable letter: printable bytes as themselves, the others from U+0100 on.
fn byte_letters() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let spare = (0x100..).filter_map(char::from_u32);
    let plain = (0..=255).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte));
    plain.chain(spare.zip((0..=255).filter(|byte| !printable(*byte)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "H\nĠ\nĠcaf\nÃ©\n(\nĠâĻª\nĠ-\nello\n<|endoftext|>\n<|startoftranscript|>\n<|nocaptions|>\n<|notimestamps|>\n<|0.00|>\n";

    #[test]
    fn spells_bytes_and_spaces() {
        let vocabulary = Vocabulary::parse(LINES, 13).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(vocabulary.text(&[0, 7, 2, 3, 8, 12, 99]), "Hello café");
        assert_eq!(vocabulary.control.end, 8);
        assert_eq!(vocabulary.blank, [1, 8]);
        assert_eq!(vocabulary.suppressed, [4, 5, 6, 9, 10, 11, 12]);
        assert_eq!(byte_letters().len(), 256);
    }

    #[test]
    fn says_what_is_wrong_with_a_vocabulary() {
        let problem = |text: &str, size| Vocabulary::parse(text, size).err().expect("refused");
        assert!(problem(LINES, 14).contains("13 tokens, but model.bin knows 14"));
        assert!(problem(&LINES.replace("<|notime", "<|time"), 13).contains("<|notimestamps|>"));
    }
}
