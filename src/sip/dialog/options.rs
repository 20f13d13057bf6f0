//! Option tags: what we can do, and what is answered to somebody who requires more (RFC 3261 §8.2.2.3).

use crate::sip::message::{Fields, Request, Response};

use super::call::ALLOW;

/// In responses and requests inside a dialog.
pub const SUPPORTED: &str = "100rel, timer, replaces, norefersub";
/// In an INVITE: 199 only ever comes back to its sender (RFC 6228 §4).
pub const SUPPORTED_IN_INVITE: &str = "100rel, timer, 199, replaces";
/// What a peer may require.
const UNDERSTOOD: [&str; 4] = ["100rel", "timer", "replaces", "norefersub"];
/// Types of bodies that we read.
pub const ACCEPT: &str = "application/sdp, application/dtmf-relay, application/dtmf";

/// A 200 to OPTIONS outside a dialog, where text messages are taken, too.
pub fn answer_outside(request: &Request) -> Response {
    let mut response = answer(request);
    response.fields.set("Allow", format!("{ALLOW}, MESSAGE"));
    response.fields.set("Accept", format!("{ACCEPT}, text/plain"));
    response
}

/// A 200 to OPTIONS (RFC 3261 §11.2).
pub fn answer(request: &Request) -> Response {
    Response::to(request, 200)
        .with("Allow", ALLOW)
        .with("Accept", ACCEPT)
        .with("Accept-Encoding", "identity")
        .with("Accept-Language", "en")
        .with("Supported", SUPPORTED)
}

/// The tags of Require that we do not know, for Unsupported; `also` are known in this request only.
pub fn unknown(fields: &Fields, also: &[&str]) -> Option<String> {
    let known = |tag: &str| UNDERSTOOD.iter().chain(also).any(|known| tag.eq_ignore_ascii_case(known));
    let unknown: Vec<String> = fields.list("Require").into_iter().filter(|tag| !known(tag)).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Whether Supported or Require names `tag`.
pub fn lists(fields: &Fields, tag: &str) -> bool {
    requires(fields, tag) || fields.list("Supported").iter().any(|listed| listed.eq_ignore_ascii_case(tag))
}

pub fn requires(fields: &Fields, tag: &str) -> bool {
    fields.list("Require").iter().any(|listed| listed.eq_ignore_ascii_case(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unknown_is_named() {
        let mut fields = Fields::default();
        fields.push("Require", "100REL, foo");
        fields.push("Require", "timer,bar");
        fields.push("k", "Timer");
        assert_eq!(unknown(&fields, &[]).as_deref(), Some("foo, bar"));
        assert_eq!(unknown(&fields, &["foo"]).as_deref(), Some("bar"));
        assert!(lists(&fields, "timer") && requires(&fields, "100rel") && !lists(&fields, "199"));
        assert_eq!(unknown(&Fields::default(), &[]), None);
    }
}
