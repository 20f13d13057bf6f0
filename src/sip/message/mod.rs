//! SIP messages: reading from and writing to the wire, and the typed parts in between.
//!
//! `rsip` is the typed model of methods, status codes and header fields. Reading and writing are ours, because the
//! wire holds more than its parser takes: IPv6 references, `tel:`, folded fields, extension methods, binary bodies,
//! and a Content-Length that must be honoured.
//!
//! Bytes flow in and out; nothing here knows of sockets, time or transactions. The reader refuses only what it cannot
//! represent; [`check`] names the answer that a represented but wrong request is owed.

pub mod address;
pub mod check;
mod equivalence;
pub mod fields;
pub mod method;
pub mod params;
pub mod provenance;
pub mod reader;
pub mod reason;
pub mod uri;
pub mod via;
pub mod writer;

use bytes::Bytes;

pub use address::NameAddr;
pub use check::{Checked, Owed};
pub use fields::Fields;
pub use method::Method;
pub use provenance::{Diversion, Provenance};
pub use reader::{Limits, Unreadable, read};
pub use reason::Reason;
pub use uri::{Host, SipUri, Uri};
pub use via::Via;
pub use writer::WriteError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub fields: Fields,
    pub body: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: rsip::StatusCode,
    /// As received, or [`phrase`] of the status.
    pub reason: String,
    pub fields: Fields,
    pub body: Bytes,
}

/// Number and method of a CSeq field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Below 2³¹ (RFC 3261 §8.1.1.5).
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    pub fn parse(text: &str) -> Option<CSeq> {
        let mut words = text.split_ascii_whitespace();
        let (number, method) = (words.next()?, words.next()?);
        if words.next().is_some() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u32 = number.parse().ok().filter(|number| *number < 1 << 31)?;
        Some(CSeq { number, method: Method::parse(method)? })
    }
}

impl std::fmt::Display for CSeq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

impl Response {
    pub fn code(&self) -> u16 {
        self.status.code()
    }

    /// A response to `request` with what RFC 3261 §8.2.6 copies: Via, From, To, Call-ID, CSeq.
    pub fn to(request: &Request, code: u16) -> Response {
        Response::from_fields(&request.fields, code)
    }

    pub fn from_fields(asked: &Fields, code: u16) -> Response {
        let status = rsip::StatusCode::from(code);
        let mut response = Response { reason: phrase(&status), status, fields: Fields::default(), body: Bytes::new() };
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for value in asked.all(name) {
                response.fields.push(name, value);
            }
        }
        response
    }

    /// Adds `tag` to To unless the request carried one.
    pub fn with_to_tag(mut self, tag: &str) -> Response {
        let to = self.fields.first("To").unwrap_or_default().to_owned();
        if NameAddr::parse(&to).is_ok_and(|to| to.tag().is_none()) {
            self.fields.set("To", format!("{to};tag={tag}"));
        }
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Response {
        self.fields.push(name, value);
        self
    }

    pub fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Response {
        self.fields.set("Content-Type", content_type);
        self.body = body.into();
        self
    }

    pub fn cseq(&self) -> Option<CSeq> {
        CSeq::parse(self.fields.first("CSeq")?)
    }

    pub fn to_tag(&self) -> Option<String> {
        NameAddr::parse(self.fields.first("To")?).ok()?.tag().map(str::to_owned)
    }

    /// Seconds of Retry-After, its comment and parameters ignored.
    pub fn retry_after(&self) -> Option<std::time::Duration> {
        let value = self.fields.first("Retry-After")?;
        let digits: String = value.trim().chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok().map(|seconds| std::time::Duration::from_secs(seconds.into()))
    }
}

impl Request {
    pub fn new(method: Method, uri: Uri) -> Request {
        Request { method, uri, fields: Fields::default(), body: Bytes::new() }
    }

    pub fn is(&self, method: rsip::Method) -> bool {
        self.method.is(method)
    }

    pub fn with_body(mut self, content_type: &str, body: impl Into<Bytes>) -> Request {
        self.fields.set("Content-Type", content_type);
        self.body = body.into();
        self
    }

    /// Branch of our own top Via; empty when there is none.
    pub fn branch(&self) -> String {
        self.fields
            .list("Via")
            .first()
            .and_then(|via| Via::parse(via).ok())
            .and_then(|via| via.branch)
            .unwrap_or_default()
    }
}

/// Media type of a body without parameters, in lower case.
pub fn media_type(fields: &Fields) -> Option<String> {
    let value = fields.first("Content-Type")?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The reason phrase of a status: `486` gives `Busy Here`.
pub fn phrase(status: &rsip::StatusCode) -> String {
    if let rsip::StatusCode::Other(code, _) = status {
        return (if *code < 300 { "OK" } else { "Refused" }).into();
    }
    if *status == rsip::StatusCode::OK {
        return "OK".into();
    }
    let shown = status.to_string();
    let name = shown.split_once(' ').map_or("", |(_, name)| name);
    let mut words = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_reason_phrases() {
        assert_eq!(phrase(&486.into()), "Busy Here");
        assert_eq!(phrase(&200.into()), "OK");
        assert_eq!(phrase(&481.into()), "Call Transaction Does Not Exist");
        assert_eq!(phrase(&799.into()), "Refused");
    }

    #[test]
    fn a_cseq_stays_below_two_to_the_31() {
        assert_eq!(CSeq::parse("2147483647 INVITE").map(|cseq| cseq.number), Some(2_147_483_647));
        assert!(CSeq::parse("2147483648 INVITE").is_none());
        assert!(CSeq::parse("-1 INVITE").is_none());
        assert!(CSeq::parse("1").is_none());
    }
}
