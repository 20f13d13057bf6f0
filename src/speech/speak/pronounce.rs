//! Written text into what flite can say: plain ASCII, no markup, no endless tokens.

/// Longest run without a space; longer ones are cut so that flite's per-word tables stay small.
const LONGEST_WORD: usize = 40;

/// `text` as flite should read it; empty when nothing can be spoken. Only printable ASCII comes out.
pub(super) fn pronounceable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match spelled(character) {
            Some(spelling) => plain.push_str(spelling),
            None if character.is_ascii_graphic() => plain.push(character),
            None => plain.push(' '),
        }
    }
    let words: Vec<String> = times(&plain).split_whitespace().flat_map(pieces).collect();
    if words.iter().any(|word| word.contains(|c: char| c.is_ascii_alphanumeric())) {
        words.join(" ")
    } else {
        String::new()
    }
}

/// How a character is said or written plainly; `None` leaves it as it is.
fn spelled(character: char) -> Option<&'static str> {
    Some(match character {
        '*' | '_' | '#' | '`' | '~' | '|' | '<' | '>' | '{' | '}' | '[' | ']' | '\\' | '^' => " ",
        '‘' | '’' | '‚' => "'",
        '“' | '”' | '„' | '«' | '»' | '"' => " ",
        '–' | '—' => ", ",
        '…' => ".",
        '&' => " and ",
        '@' => " at ",
        '€' => " euros ",
        '£' => " pounds ",
        '°' => " degrees ",
        'ä' | 'æ' => "ae",
        'ö' | 'œ' | 'ø' => "oe",
        'ü' => "ue",
        'Ä' | 'Æ' => "Ae",
        'Ö' | 'Œ' | 'Ø' => "Oe",
        'Ü' => "Ue",
        'ß' => "ss",
        'à' | 'á' | 'â' | 'ã' | 'å' => "a",
        'À' | 'Á' | 'Â' | 'Ã' | 'Å' => "A",
        'ç' => "c",
        'Ç' => "C",
        'è' | 'é' | 'ê' | 'ë' => "e",
        'È' | 'É' | 'Ê' | 'Ë' => "E",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ñ' => "n",
        'Ñ' => "N",
        'ò' | 'ó' | 'ô' | 'õ' => "o",
        'ù' | 'ú' | 'û' => "u",
        _ => return None,
    })
}

/// `3.30` becomes `3:30` before a word that makes it a time of day; flite reads the colon form right.
fn times(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = String::with_capacity(text.len());
    for (index, word) in words.iter().enumerate() {
        let next = words[index + 1..].iter().find(|word| !word.is_empty()).copied().unwrap_or_default();
        let is_time =
            word.split_once('.').is_some_and(|(hours, minutes)| two_digits(hours, 1) && two_digits(minutes, 2));
        if is_time && matches!(next.to_ascii_lowercase().get(..2), Some("a." | "p." | "am" | "pm")) {
            out.push_str(&word.replace('.', ":"));
        } else {
            out.push_str(word);
        }
        out.push(' ');
    }
    out
}

fn two_digits(text: &str, least: usize) -> bool {
    (least..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A word in pieces that are short enough. The input is ASCII, so any byte is a boundary.
fn pieces(word: &str) -> Vec<String> {
    word.as_bytes().chunks(LONGEST_WORD).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_plainly_what_flite_cannot_read() {
        assert_eq!(pronounceable("**Müller** & Söhne — “fine”"), "Mueller and Soehne , fine");
        assert_eq!(pronounceable("at 3.30 p.m. it is 3.30 percent"), "at 3:30 p.m. it is 3.30 percent");
        assert_eq!(pronounceable("漢字 — …"), "");
    }

    proptest! {
        #[test]
        fn only_plain_ascii_words_of_bounded_length_come_out(text in "\\PC{0,300}") {
            let plain = pronounceable(&text);
            prop_assert!(plain.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            prop_assert!(plain.split(' ').all(|word| word.len() <= LONGEST_WORD));
        }
    }
}
