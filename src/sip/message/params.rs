//! `;name=value` lists, comma lists and quoted strings.

use super::method::is_token;

/// Parameters in their order. Names compare without case; values are kept as written, quotes included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads `;a=b ; c` (with or without the first semicolon); `None` when a name is missing or no token,
    /// or a quote is open.
    pub fn parse(text: &str) -> Option<Params> {
        let mut params = Vec::new();
        if text.trim().is_empty() {
            return Some(Params(params));
        }
        for (index, part) in split_outside_quotes(text, ';')?.into_iter().enumerate() {
            let part = part.trim();
            match (part.is_empty(), index) {
                (true, 0) => continue,
                (true, _) => return None,
                (false, _) => {}
            }
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().to_owned())),
                None => (part, None),
            };
            if name.is_empty() || !name.bytes().all(|byte| is_token(byte) || b"[]/:&$".contains(&byte)) {
                return None;
            }
            params.push((name.to_owned(), value));
        }
        Some(Params(params))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).and_then(|(_, value)| value.as_deref())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = Some(value.into());
        match self.0.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }
}

impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// Splits a comma-separated field value; commas in quotes and in `<…>` do not separate. Blank parts are left out.
pub fn split_list(value: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for letter in value.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// `None` when a quote is left open.
pub fn split_outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if letter == separator && !quoted => {
                parts.push(text.get(start..at)?);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!quoted).then_some(parts)
}

/// The content of a quoted string, its escapes resolved; text without quotes as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    plain
}

/// A quoted string of `text`; control characters become spaces.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            _ if letter.is_control() => quoted.push(' '),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_angles_do_not_separate() {
        assert_eq!(split_list(r#""a, \"b" <sip:x,y@z>;t=1, <sip:q>"#), [r#""a, \"b" <sip:x,y@z>;t=1"#, "<sip:q>"]);
    }

    #[test]
    fn parameters_tolerate_white_space_and_refuse_open_quotes() {
        let params = Params::parse("; tag = 98asjd8 ; lr").expect("valid");
        assert_eq!(params.value("TAG"), Some("98asjd8"));
        assert!(params.has("lr"));
        assert_eq!(Params::parse(r#";a="x"#), None);
        assert_eq!(Params::parse(r#";a="x;y";b"#).expect("valid").value("a"), Some(r#""x;y""#));
    }

    #[test]
    fn quoting_is_undone_by_unquoting_and_cannot_break_the_line() {
        assert_eq!(unquote(&quote(r#"say "hi" \o/"#)), r#"say "hi" \o/"#);
        assert_eq!(quote("a\r\nBcc: b"), r#""a  Bcc: b""#);
    }
}
