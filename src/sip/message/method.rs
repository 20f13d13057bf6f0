//! Methods: those of `rsip`, and extension methods as text.

use std::str::FromStr;

/// Method names are case-sensitive (RFC 3261 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    Known(rsip::Method),
    Extension(String),
}

impl Method {
    /// `None` when `text` is not a token.
    pub fn parse(text: &str) -> Option<Method> {
        if text.is_empty() || !text.bytes().all(is_token) {
            return None;
        }
        // `rsip` compares without case; an `invite` is an extension method.
        match rsip::Method::from_str(text) {
            Ok(known) if known.to_string() == text => Some(Method::Known(known)),
            _ => Some(Method::Extension(text.to_owned())),
        }
    }

    pub fn is(&self, known: rsip::Method) -> bool {
        matches!(self, Method::Known(method) if *method == known)
    }
}

impl From<rsip::Method> for Method {
    fn from(known: rsip::Method) -> Method {
        Method::Known(known)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Method::Known(method) => method.fmt(f),
            Method::Extension(text) => f.write_str(text),
        }
    }
}

/// `token` of RFC 3261 §25.1.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_extension_methods_and_case() {
        assert_eq!(Method::parse("INVITE"), Some(Method::Known(rsip::Method::Invite)));
        assert_eq!(Method::parse("invite"), Some(Method::Extension("invite".into())));
        assert_eq!(Method::parse("RE%47IST%45R"), Some(Method::Extension("RE%47IST%45R".into())));
        assert_eq!(Method::parse("a b"), None);
        assert_eq!(Method::parse(""), None);
    }
}
