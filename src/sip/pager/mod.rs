//! Text messages over SIP (RFC 3428): what the body of a MESSAGE says.
//!
//! Header fields and bytes flow in; a text, a delivery report or a refusal flows out. Who may send, where it is kept
//! and what is answered then is not known here.
//!
//! | Content-Type | Read as |
//! |---|---|
//! | absent, `text/plain` in UTF-8, US-ASCII or ISO 8859-1 | text |
//! | `message/cpim` (RFC 3862) around one of these | the same |
//! | `message/imdn+xml` (RFC 5438), alone or in `message/cpim` | delivery report |
//! | anything else, or a Content-Encoding | 415 |
//! | text that is not in its charset | 400 |
//! | more than [`LONGEST`] | 413 |

mod cpim;
mod imdn;

use bytes::Bytes;

use super::message::Fields;
use super::message::params::{Params, unquote};

pub use imdn::{Delivery, Report};

/// Longest body, bytes.
pub const LONGEST: usize = 16 * 1024;
/// What a 415 says that we take.
pub const ACCEPT: &str = "text/plain, message/cpim, message/imdn+xml";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Report(Report),
}

/// Status and phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable {
    pub code: u16,
    pub reason: &'static str,
}

const UNKNOWN: Unreadable = Unreadable { code: 415, reason: "Unsupported Media Type" };
const GARBLED: Unreadable = Unreadable { code: 400, reason: "Body Is Not In Its Charset" };

/// What the body of a MESSAGE says.
pub fn read(fields: &Fields, body: &Bytes) -> Result<Content, Unreadable> {
    if body.len() > LONGEST {
        return Err(Unreadable { code: 413, reason: "Message Too Long" });
    }
    if fields.list("Content-Encoding").iter().any(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(UNKNOWN);
    }
    let kind = Kind::parse(fields.first("Content-Type").unwrap_or("text/plain"))?;
    match kind.name.as_str() {
        "message/cpim" => {
            let inner = cpim::open(body).ok_or(Unreadable { code: 400, reason: "Malformed message/cpim" })?;
            let kind = Kind::parse(inner.content_type.as_deref().unwrap_or("text/plain"))?;
            kind.content(inner.body)
        }
        _ => kind.content(body),
    }
}

/// A Content-Type.
struct Kind {
    /// In lower case.
    name: String,
    /// In lower case.
    charset: Option<String>,
}

impl Kind {
    fn parse(value: &str) -> Result<Kind, Unreadable> {
        let (name, params) = value.split_once(';').unwrap_or((value, ""));
        let params = Params::parse(params).ok_or(UNKNOWN)?;
        let charset = params.value("charset").map(|charset| unquote(charset).to_ascii_lowercase());
        Ok(Kind { name: name.trim().to_ascii_lowercase(), charset })
    }

    fn content(&self, body: &[u8]) -> Result<Content, Unreadable> {
        match self.name.as_str() {
            "text/plain" => self.text(body).map(Content::Text),
            "message/imdn+xml" => {
                let text = std::str::from_utf8(body).map_err(|_| GARBLED)?;
                let report = imdn::read(text).ok_or(Unreadable { code: 400, reason: "Malformed message/imdn+xml" })?;
                Ok(Content::Report(report))
            }
            _ => Err(UNKNOWN),
        }
    }

    fn text(&self, body: &[u8]) -> Result<String, Unreadable> {
        match self.charset.as_deref() {
            // Every ASCII text is UTF-8 already, and senders that forget the charset mean UTF-8.
            None | Some("utf-8" | "utf8" | "us-ascii" | "ascii") => {
                std::str::from_utf8(body).map(str::to_owned).map_err(|_| GARBLED)
            }
            Some("iso-8859-1" | "latin1") => Ok(body.iter().copied().map(char::from).collect()),
            Some(_) => Err(UNKNOWN),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(kind: Option<&str>, body: &[u8]) -> Result<Content, u16> {
        let mut fields = Fields::default();
        if let Some(kind) = kind {
            fields.push("Content-Type", kind);
        }
        read(&fields, &Bytes::copy_from_slice(body)).map_err(|refused| refused.code)
    }

    fn text(text: &str) -> Result<Content, u16> {
        Ok(Content::Text(text.into()))
    }

    const CPIM: &str = "From: <im:a@b>\r\nTo: <im:c@d>\r\nDateTime: 2026-06-04T17:55:12Z\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
                        imdn.Message-ID: 1\r\n\r\nContent-type: text/plain; charset=utf-8\r\n\r\nGrüße";

    #[test]
    fn each_row_of_the_table_holds() {
        assert_eq!(of(None, b"hi"), text("hi"));
        assert_eq!(of(Some("Text/Plain"), "Grüße".as_bytes()), text("Grüße"));
        assert_eq!(of(Some("text/plain;charset=\"UTF-8\""), b""), text(""));
        assert_eq!(of(Some("text/plain; charset=ISO-8859-1"), b"Gr\xfc\xdfe"), text("Grüße"));
        assert_eq!(of(Some("message/cpim"), CPIM.as_bytes()), text("Grüße"));
        assert_eq!(of(Some("message/cpim"), CPIM.replace("text/plain", "text/html").as_bytes()), Err(415));
        assert_eq!(of(Some("message/cpim"), b"no header at all"), Err(400));
        assert_eq!(of(Some("text/html"), b"<b>"), Err(415));
        assert_eq!(of(Some("application/im-iscomposing+xml"), b"<x/>"), Err(415));
        assert_eq!(of(Some("text/plain; charset=utf-16"), b"hi"), Err(415));
        assert_eq!(of(Some("text/plain"), b"Gr\xfc\xdfe"), Err(400));
        assert_eq!(of(Some("message/imdn+xml"), b"<imdn/>"), Err(400));
        assert_eq!(of(None, &vec![b'a'; LONGEST]), text(&"a".repeat(LONGEST)));
        assert_eq!(of(None, &vec![b'a'; LONGEST + 1]), Err(413));
    }

    #[test]
    fn a_coded_body_is_not_read() {
        let mut fields = Fields::default();
        fields.push("Content-Type", "text/plain");
        fields.push("Content-Encoding", "gzip");
        assert_eq!(read(&fields, &Bytes::from_static(b"\x1f\x8b")).map_err(|refused| refused.code), Err(415));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(
            kind in prop::sample::select(vec!["text/plain", "message/cpim", "message/imdn+xml", "text/plain;charset=latin1", ";;"]),
            body in proptest::collection::vec(any::<u8>(), 0..300),
            lines in "[<>/a-z: \r\n-]{0,200}",
        ) {
            let _ = of(Some(kind), &body);
            let _ = of(Some(kind), lines.as_bytes());
        }
    }
}
