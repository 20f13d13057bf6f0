//! How telephone numbers are written and compared.

/// The one form under which a number is dialled, listed and judged: `+` and digits when it is written with its country
/// code (`+49 30 …`, `0049 30 …`), else the bare digits (short numbers, numbers of the PBX). `None` when it holds
/// anything but digits and the separators space, `-`, `.`, `/`, `(` and `)`, or no digit.
pub fn normalize(number: &str) -> Option<String> {
    let form = prefix_form(number)?;
    form.ends_with(|last: char| last.is_ascii_digit()).then_some(form)
}

/// Like [`normalize`], but a lone `+` passes: the prefix of every number with a country code.
pub(super) fn prefix_form(text: &str) -> Option<String> {
    let text = text.trim();
    let (plus, rest) = match text.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut digits = String::with_capacity(rest.len() + 1);
    for character in rest.chars() {
        match character {
            '0'..='9' => digits.push(character),
            ' ' | '-' | '.' | '/' | '(' | ')' => {}
            _ => return None,
        }
    }
    match digits.strip_prefix("00") {
        Some(international) if !plus && !international.is_empty() => Some(format!("+{international}")),
        _ if plus => Some(format!("+{digits}")),
        _ if digits.is_empty() => None,
        _ => Some(digits),
    }
}

/// The form under which an inbound called number finds its record: carriers and PBXs write the same number as `+4930…`,
/// `004930…` or `4930…`, so the digits count, without `+` or a leading `00`. What is not a number (a name in the user
/// part) is compared as text without regard to case.
pub(super) fn comparable(called: &str) -> String {
    match normalize(called) {
        Some(number) => number.trim_start_matches('+').to_owned(),
        None => called.trim().to_lowercase(),
    }
}

/// Whether two spellings reach the same inbound number: the digits count, without `+` or a leading `00`.
pub fn same_number(one: &str, other: &str) -> bool {
    comparable(one) == comparable(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_brought_to_one_form() {
        for (written, form) in [
            ("+49 (30) 123-45.67/8", Some("+493012345678".into())),
            ("0049301234567", Some("+49301234567".into())),
            ("1234", Some("1234".into())),
            ("030 1234", Some("0301234".into())),
            ("00", Some("00".into())),
            (" 7 ", Some("7".into())),
            ("+", None),
            ("", None),
            ("()", None),
            ("+49x30", None),
            ("*31#49", None),
            ("++49", None),
            ("49+30", None),
            ("４９", None),
        ] {
            assert_eq!(normalize(written), form, "{written:?}");
        }
        assert_eq!(prefix_form("+").as_deref(), Some("+"));
    }

    #[test]
    fn inbound_numbers_compare_by_their_digits() {
        for same in ["+493012345", "00493012345", "493012345", "+49 30 12345"] {
            assert!(same_number(same, "+493012345"), "{same}");
        }
        assert!(same_number("1234", "1234"));
        assert!(same_number("Reception", "reception"));
        for other in ["03012345", "4930123456", "93012345", ""] {
            assert!(!same_number(other, "+493012345"), "{other}");
        }
    }
}
