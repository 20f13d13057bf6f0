//! `name-addr` and `addr-spec` with parameters: From, To, Contact, Route, P-Asserted-Identity.

use super::method::is_token;
use super::params::{Params, unquote};
use super::uri::{BadUri, Uri};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Quotes and escapes resolved.
    pub display: Option<String>,
    pub uri: Uri,
    pub params: Params,
}

impl NameAddr {
    pub fn parse(text: &str) -> Result<NameAddr, BadUri> {
        let text = text.trim();
        match find_angle(text)? {
            Some(open) => NameAddr::parse_angled(text, open),
            None => NameAddr::parse_bare(text),
        }
    }

    fn parse_angled(text: &str, open: usize) -> Result<NameAddr, BadUri> {
        let (before, rest) = text.split_at_checked(open).ok_or(BadUri)?;
        let (uri, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).ok_or(BadUri)?;
        let after = after.trim();
        if !after.is_empty() && !after.starts_with(';') {
            return Err(BadUri);
        }
        let display = match before.trim() {
            "" => None,
            quoted if quoted.starts_with('"') => Some(unquote(quoted)),
            // Tokens and white space; UTF-8 in them is common and harmless.
            plain if plain.bytes().all(|byte| is_token(byte) || byte == b' ' || byte == b'\t' || byte >= 0x80) => {
                Some(plain.to_owned())
            }
            _ => return Err(BadUri),
        };
        Ok(NameAddr { display, uri: Uri::parse(uri)?, params: Params::parse(after).ok_or(BadUri)? })
    }

    /// Without angles, parameters belong to the field and `?`, `,` may not appear (RFC 3261 §20).
    fn parse_bare(text: &str) -> Result<NameAddr, BadUri> {
        let (uri, params) = match text.find(';') {
            Some(at) => text.split_at_checked(at).ok_or(BadUri)?,
            None => (text, ""),
        };
        if uri.contains([',', '?']) {
            return Err(BadUri);
        }
        Ok(NameAddr { display: None, uri: Uri::parse(uri.trim())?, params: Params::parse(params).ok_or(BadUri)? })
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.value("tag").filter(|tag| !tag.is_empty())
    }
}

/// Where `<` stands outside quotes; an open quote is an error.
fn find_angle(text: &str) -> Result<Option<usize>, BadUri> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => return Ok(Some(at)),
            _ => {}
        }
    }
    if quoted { Err(BadUri) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_legal_form() {
        let quoted = NameAddr::parse(r#""J \"R\"" <sip:j@example.com;x=1>;tag=98"#).expect("quoted");
        assert_eq!(quoted.display.as_deref(), Some(r#"J "R""#));
        assert_eq!(quoted.tag(), Some("98"));
        assert_eq!(NameAddr::parse("caller<sip:c@d>").expect("token").display.as_deref(), Some("caller"));
        let bare = NameAddr::parse("sip:vivekg@example.com ;   tag    = 1918181833n").expect("bare");
        assert_eq!(bare.tag(), Some("1918181833n"));
        assert_eq!(bare.uri.to_string(), "sip:vivekg@example.com");
    }

    #[test]
    fn refuses_ambiguous_forms() {
        for text in [
            "Bell, Alexander <sip:a@b>",
            r#""open <sip:a@b>"#,
            "sip:a@b?Route=x",
            "<sip:a@b> junk",
            "<sip:a@b",
            "< sip:a@b >",
        ] {
            assert!(NameAddr::parse(text).is_err(), "{text}");
        }
    }
}
