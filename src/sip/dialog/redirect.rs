//! Redirections (RFC 3261 §8.1.3.4), followed only where a call might be placed anyhow: everything else would let a
//! trunk or whoever controls a callee's phone dial at our expense.
//!
//! | Contact of a 300, 301 or 302 | What becomes of it |
//! |---|---|
//! | the number that was called, at the host that was called | followed |
//! | another number that the dial policy allows | followed, through the host that was called |
//! | any other number, or none | passed over |
//! | no `sip:` or `tel:` URI, or one that was tried | passed over |
//! | any, after three | passed over |
//!
//! When none is left, the refusal stands. 305 and 380 are never followed: the one names a proxy, the other asks for a
//! service that a telephone call is not.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sip::message::uri::escape_user;
use crate::sip::message::{NameAddr, Response, SipUri, Uri};

/// Which numbers a redirected call may go to. Without one: only where it went.
#[derive(Clone, Default)]
pub struct DialPolicy(Option<Arc<Rule>>);

type Rule = dyn Fn(&str) -> bool + Send + Sync;

impl DialPolicy {
    pub fn new(allows: impl Fn(&str) -> bool + Send + Sync + 'static) -> DialPolicy {
        DialPolicy(Some(Arc::new(allows)))
    }

    fn allows(&self, number: &str) -> bool {
        self.0.as_ref().is_some_and(|allows| allows(number))
    }
}

impl std::fmt::Debug for DialPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "DialPolicy(rules)" } else { "DialPolicy(none)" })
    }
}

/// The way of one call through redirections.
#[derive(Debug)]
pub struct Redirects {
    policy: DialPolicy,
    first: Option<SipUri>,
    /// As it was sent, to know a loop.
    tried: Vec<String>,
    waiting: VecDeque<SipUri>,
}

/// Redirected INVITEs of one call.
const MAX_HOPS: usize = 3;
/// Contacts of one answer that are looked at.
const MAX_CONTACTS: usize = 8;

impl Redirects {
    pub fn new(policy: DialPolicy, dialled: &Uri) -> Redirects {
        let first = dialled.sip().cloned();
        Redirects { policy, tried: vec![dialled.to_string()], first, waiting: VecDeque::new() }
    }

    /// Notes where a 3xx points, best first, in front of what an earlier one named.
    pub fn take(&mut self, response: &Response) {
        if !matches!(response.code(), 300..=302) {
            return;
        }
        let contacts = response.fields.list("Contact");
        let mut targets: Vec<(i32, SipUri)> = contacts
            .iter()
            .take(MAX_CONTACTS)
            .filter_map(|contact| NameAddr::parse(contact).ok())
            .filter_map(|contact| Some((-thousandths(contact.params.value("q")), self.target(&contact.uri)?)))
            .collect();
        targets.sort_by_key(|(preference, _)| *preference);
        for (_, target) in targets.into_iter().rev() {
            self.waiting.push_front(target);
        }
        self.waiting.truncate(MAX_CONTACTS);
    }

    /// The next place to call.
    pub fn next_target(&mut self) -> Option<Uri> {
        while let Some(target) = self.waiting.pop_front() {
            let target = Uri::Sip(target);
            let name = target.to_string();
            if self.tried.len() <= MAX_HOPS && !self.tried.contains(&name) {
                self.tried.push(name);
                return Some(target);
            }
        }
        None
    }

    /// Where the call would go, if it may.
    fn target(&self, named: &Uri) -> Option<SipUri> {
        let first = self.first.as_ref()?;
        let number = named.number();
        let same_host = match named {
            Uri::Sip(uri) if uri.secure && !first.secure => return None,
            Uri::Sip(uri) => uri.host == first.host,
            Uri::Tel(_) => false,
            Uri::Other(_) => return None,
        };
        let same_number = number == Uri::Sip(first.clone()).number();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+*#-._".contains(&byte);
        if number.is_empty() || number.len() > 128 || !number.bytes().all(fits) {
            return None;
        }
        if !(same_host && same_number || self.policy.allows(&number)) {
            return None;
        }
        match named {
            // Its own parameters may tell two targets apart; header fields that it wants are not ours to write.
            Uri::Sip(uri) if same_host => Some(SipUri { headers: None, port: first.port, ..uri.clone() }),
            _ => Some(SipUri { user: Some(escape_user(&number)), headers: None, ..first.clone() }),
        }
    }
}

/// `q`, 1 when absent (RFC 3261 §20.10).
fn thousandths(q: Option<&str>) -> i32 {
    let value = q.and_then(|q| q.trim().parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0);
    // 0 to 1000.
    (value * 1_000.0) as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Request;

    fn dialled() -> Uri {
        Uri::parse("sip:+491@192.0.2.1:5070").expect("a URI")
    }

    fn moved(code: u16, contact: &str) -> Response {
        let request = Request::new(rsip::Method::Invite.into(), dialled());
        Response::to(&request, code).with("Contact", contact)
    }

    /// Where a call goes after one answer.
    fn follow(code: u16, contact: &str) -> Vec<String> {
        let mut redirects = Redirects::new(DialPolicy::new(|number| number.starts_with("+49")), &dialled());
        redirects.take(&moved(code, contact));
        std::iter::from_fn(|| redirects.next_target()).map(|uri| uri.to_string()).collect()
    }

    /// The module's table, row by row.
    #[test]
    fn each_contact_goes_where_the_table_says() {
        let rows: [(&str, &[&str]); 10] = [
            ("<sip:+491@192.0.2.1;line=2>", &["sip:+491@192.0.2.1:5070;line=2"]),
            ("<sip:+492@192.0.2.1?Replaces=x>", &["sip:+492@192.0.2.1:5070"]),
            ("<sip:+492@evil.example.com:9;x=y>", &["sip:+492@192.0.2.1:5070"]),
            ("<tel:+493;ext=1>", &["sip:+493@192.0.2.1:5070"]),
            ("<sip:+1900@192.0.2.1>", &[]),
            ("<sip:+1900@elsewhere>", &[]),
            ("<sip:192.0.2.1>", &[]),
            ("<sips:+492@192.0.2.1>, <http://x/>", &[]),
            ("<sip:+491@192.0.2.1:5070>", &[]),
            ("<sip:%0d%0a+49@192.0.2.1>, nonsense <", &[]),
        ];
        for (contact, targets) in rows {
            assert_eq!(follow(302, contact), targets, "{contact}");
        }
        for code in [305, 380, 399, 486] {
            assert!(follow(code, "<sip:+492@192.0.2.1>").is_empty(), "{code}");
        }
    }

    #[test]
    fn the_best_comes_first_and_three_are_the_most() {
        let all = "<sip:+492@a>;q=0.1, <sip:+493@a>, <sip:+494@a>;q=0.5, <sip:+495@a>;q=0.05, <sip:+493@b>";
        assert_eq!(follow(300, all), ["sip:+493@192.0.2.1:5070", "sip:+494@192.0.2.1:5070", "sip:+492@192.0.2.1:5070"]);
    }

    #[test]
    fn a_loop_ends() {
        let mut redirects = Redirects::new(DialPolicy::new(|_| true), &dialled());
        redirects.take(&moved(302, "<sip:+492@a>"));
        assert!(redirects.next_target().is_some());
        redirects.take(&moved(302, "<sip:+491@a>"));
        redirects.take(&moved(302, "<sip:+492@a>"));
        assert_eq!(redirects.next_target(), None);
    }

    #[test]
    fn without_rules_only_the_called_number_is_followed() {
        let mut redirects = Redirects::new(DialPolicy::default(), &dialled());
        redirects.take(&moved(302, "<sip:+492@192.0.2.1>, <sip:+491@192.0.2.1;line=2>"));
        let targets: Vec<Uri> = std::iter::from_fn(|| redirects.next_target()).collect();
        assert_eq!(targets.len(), 1);
    }
}
