//! Dialogs (RFC 3261 §12) and the INVITE usage on both sides: calls.
//!
//! Responses, requests, commands and instants flow in through a [`Step`]; what to send and what to tell flows out of it.
//! Transactions, sockets and other calls are not known here.
//!
//! | Phase | Input | Output | Next |
//! |---|---|---|---|
//! | Dialling | 101–199 | Ringing; PRACK when it is reliable (`reliable`, `forks`) | Dialling |
//! | | UPDATE in an early dialog | 200, Offer when it brings a session | Dialling |
//! | | 401/407 | INVITE with credentials, at most twice | Dialling |
//! | | 422 | INVITE with a longer session interval, at most twice (`timer`) | Dialling |
//! | | 300–302 that leads where the call may go (`redirect`) | INVITE there, at most three times | Dialling |
//! | | 2xx | ACK, Answered | Live |
//! | | 2xx that cannot be used | ACK, BYE, Failed | Over |
//! | | nothing for 8·T1, 503, unreachable, and the host has another address | INVITE to that | Dialling |
//! | | 1xx of an address that was left | CANCEL | Dialling |
//! | | 2xx of an address that was left | ACK, BYE | Dialling |
//! | | 300–699 | Rejected | Over |
//! | | hang up, ring time over | Ended or Failed; CANCEL once a 1xx came | Dialling, quiet |
//! | Dialling, quiet | 2xx | ACK, BYE | Over |
//! | Alerting | ringing | 180 or 183, repeated every minute, or until its PRACK (`reliable`) | Alerting |
//! | | PRACK, UPDATE | 200; Offer when it brings one | Alerting |
//! | | no PRACK for 64·T1 | 504, Ended lost | Over |
//! | | answer | 200, repeated until ACK | Live |
//! | | reject, hang up | refusal, Ended by us | Over |
//! | | CANCEL, BYE | 487, Ended by peer | Over |
//! | Live | 2xx of another fork | ACK, BYE | Live |
//! | | ACK of our first 200 | Answered | Live |
//! | | no ACK for 64·T1 | BYE, Ended lost | Over |
//! | | re-INVITE, UPDATE | Offer; 491, 500 when one is under way (`exchange`) | Live |
//! | | REFER, NOTIFY, both ways | see `refer` | Live |
//! | | INFO with a key | 200, Key | Live |
//! | | half the session interval, where we refresh | UPDATE, else re-INVITE (`timer`) | Live |
//! | | the session interval over | BYE, Ended lost | Over |
//! | | hang up | BYE, Ended by us (after the ACK, RFC 3261 §15) | Over |
//! | | BYE | 200, Because, Ended by peer | Over |
//! | | request of another fork | 481, BYE 200 | Live |
//! | Over | BYE | 200 | Over |

pub mod alerting;
pub mod call;
pub mod dialling;
mod exchange;
mod forks;
mod info;
pub mod options;
pub mod redirect;
pub mod refer;
mod reliable;
pub mod replaces;
pub mod session;
pub mod step;
pub mod timer;

use std::net::{IpAddr, SocketAddr};

pub use call::Call;
pub use step::{Act, LocalEnd, Purpose, Step};

use super::message::{Checked, NameAddr, Request, Response, SipUri, Uri};
use super::transport::{Hop, Link, Transport};

/// State that both ends keep of a confirmed or early dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
    /// Values of From and To without tags.
    local: String,
    remote: String,
    target: Uri,
    /// Values of Route, nearest first.
    routes: Vec<String>,
    local_sequence: u32,
    remote_sequence: Option<u32>,
    /// Where the peer's last message came from; used when the target is a name.
    pub peer: Hop,
}

impl Dialog {
    /// Ours, from a response with a To tag (RFC 3261 §12.1.2).
    pub fn from_response(invite: &Request, response: &Response, peer: Hop) -> Option<Dialog> {
        let to = NameAddr::parse(response.fields.first("To")?).ok()?;
        let from = NameAddr::parse(invite.fields.first("From")?).ok()?;
        let contact = response.fields.list("Contact").first().and_then(|contact| NameAddr::parse(contact).ok());
        let mut routes = response.fields.list("Record-Route");
        routes.reverse();
        Some(Dialog {
            call_id: invite.fields.first("Call-ID")?.to_owned(),
            local_tag: from.tag()?.to_owned(),
            remote_tag: to.tag().unwrap_or_default().to_owned(),
            local: untagged(&from),
            remote: untagged(&to),
            target: contact.map_or_else(|| invite.uri.clone(), |contact| contact.uri),
            routes,
            local_sequence: response.cseq()?.number,
            remote_sequence: None,
            peer,
        })
    }

    /// The peer's, from its INVITE (RFC 3261 §12.1.1). Without a Contact the caller's From is the target, as peers of
    /// RFC 2543 mean it; `None` when neither can be reached over SIP.
    pub fn from_request(invite: &Request, checked: &Checked, local_tag: &str, peer: Hop) -> Option<Dialog> {
        let target = match invite.fields.list("Contact").first() {
            Some(contact) => NameAddr::parse(contact).ok()?.uri,
            None => checked.from.uri.clone(),
        };
        target.sip()?;
        Some(Dialog {
            call_id: checked.call_id.clone(),
            local_tag: local_tag.to_owned(),
            remote_tag: checked.from_tag().to_owned(),
            local: untagged(&checked.to),
            remote: untagged(&checked.from),
            target,
            routes: invite.fields.list("Record-Route"),
            local_sequence: 0,
            remote_sequence: Some(checked.cseq.number),
            peer,
        })
    }

    /// A new request inside the dialog; raises CSeq. Never ACK.
    pub fn request(&mut self, method: rsip::Method, step: &mut Step<'_>, local: &LocalEnd) -> Request {
        self.local_sequence = self.local_sequence.saturating_add(1);
        let sequence = self.local_sequence;
        self.build(method, sequence, step, local)
    }

    /// The ACK of a 2xx (RFC 3261 §13.2.2.4).
    pub fn ack(&self, sequence: u32, step: &mut Step<'_>, local: &LocalEnd) -> Request {
        self.build(rsip::Method::Ack, sequence, step, local)
    }

    /// The CSeq of our last request.
    pub fn last_sequence(&self) -> u32 {
        self.local_sequence
    }

    /// Goes on counting above `floor`, and with the peer's count as it was: the early dialog becomes this one.
    pub fn continues(&mut self, floor: u32, early: Option<&Dialog>) {
        let used = early.map(|early| early.local_sequence).unwrap_or_default();
        self.local_sequence = self.local_sequence.max(floor).max(used);
        self.remote_sequence = early.and_then(|early| early.remote_sequence).or(self.remote_sequence);
    }

    /// The CSeq for a request that is sent again with credentials.
    pub fn next_sequence(&mut self) -> u32 {
        self.local_sequence = self.local_sequence.saturating_add(1);
        self.local_sequence
    }

    fn build(&self, method: rsip::Method, sequence: u32, step: &mut Step<'_>, local: &LocalEnd) -> Request {
        let (uri, routes) = self.path();
        let mut request = Request::new(method.into(), uri);
        request.fields.push("Via", local.via(&step.token()));
        for route in routes {
            request.fields.push("Route", route);
        }
        request.fields.push("Max-Forwards", "70");
        request.fields.push("From", format!("{};tag={}", self.local, self.local_tag));
        let tag = if self.remote_tag.is_empty() { String::new() } else { format!(";tag={}", self.remote_tag) };
        request.fields.push("To", format!("{}{tag}", self.remote));
        request.fields.push("Call-ID", self.call_id.clone());
        request.fields.push("CSeq", format!("{sequence} {method}"));
        request.fields.push("Contact", local.contact.clone());
        request.fields.push("User-Agent", local.user_agent.clone());
        request
    }

    /// Request-URI and Route values; a first route without `lr` takes the Request-URI (RFC 3261 §12.2.1.1).
    fn path(&self) -> (Uri, Vec<String>) {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route).ok());
        match first {
            Some(first) if first.uri.sip().is_some_and(|uri| !uri.params.has("lr")) => {
                let mut rest: Vec<String> = self.routes.iter().skip(1).cloned().collect();
                rest.push(format!("<{}>", self.target));
                (first.uri, rest)
            }
            _ => (self.target.clone(), self.routes.clone()),
        }
    }

    /// Where requests go: the first route or the target when it is an address, else where the peer was last seen. A phone
    /// behind a NAT only knows its inner address; then, too, it is where it was seen. The URI's `transport` counts, but what
    /// came over TLS stays there (RFC 3261 §26.2.2).
    pub fn hop(&self) -> Hop {
        let first = self.routes.first().and_then(|route| NameAddr::parse(route).ok()).map(|route| route.uri);
        let uri = first.as_ref().unwrap_or(&self.target);
        uri.sip().and_then(|uri| towards(uri, self.peer)).unwrap_or(self.peer)
    }

    /// Takes the CSeq of a request of the peer; `false` when it is out of order (RFC 3261 §12.2.2).
    pub fn admit(&mut self, sequence: u32) -> bool {
        let in_order = self.remote_sequence.is_none_or(|last| sequence > last);
        if in_order {
            self.remote_sequence = Some(sequence);
        }
        in_order
    }

    /// Target refresh by a Contact.
    pub fn refresh(&mut self, contacts: &[String], peer: Hop) {
        if self.peer.transport != Transport::Tls || peer.transport == Transport::Tls {
            self.peer = peer;
        }
        let contact = contacts.first().and_then(|contact| NameAddr::parse(contact).ok());
        if let Some(contact) = contact.filter(|contact| contact.uri.sip().is_some()) {
            self.target = contact.uri;
        }
    }
}

/// The way to `uri` for somebody who was last seen at `peer`; `None` when `peer` is the better one.
fn towards(uri: &SipUri, peer: Hop) -> Option<Hop> {
    let asked = uri.params.value("transport").and_then(Transport::parse);
    let transport = match peer.transport {
        Transport::Tls => Transport::Tls,
        _ if uri.secure => Transport::Tls,
        seen => asked.unwrap_or(seen),
    };
    let ip = uri.host.ip().filter(|named| !is_hidden(*named, peer.ip()))?;
    let address = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
    let link = match peer.link {
        // The connection that the peer holds serves its dialogs, whichever port it listens on.
        Link::Connection(_) if transport != peer.transport || ip != peer.ip() => Link::Any,
        link => link,
    };
    Some(Hop::new(transport, address, link))
}

/// The value without its tag.
fn untagged(address: &NameAddr) -> String {
    match &address.display {
        Some(display) => format!("{} <{}>", super::message::params::quote(display), address.uri),
        None => format!("<{}>", address.uri),
    }
}

/// `named` is an inner address (RFC 1918, 6598, 3927, 4193) or none at all, and the packets came from elsewhere.
fn is_hidden(named: IpAddr, seen: IpAddr) -> bool {
    let inner = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    named.is_unspecified() || (inner(named) && !inner(seen) && !seen.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_its_transport_but_tls_stays_tls() {
        use super::super::transport::TrunkId;
        let way = |uri: &str, peer: Hop| {
            let Ok(Uri::Sip(uri)) = Uri::parse(uri) else { panic!("{uri}") };
            towards(&uri, peer).map(|hop| (hop.to_string(), hop.link))
        };
        let at = |transport, link| Hop::new(transport, "192.0.2.1:4444".parse().expect("address"), link);
        let (udp, tcp) = (at(Transport::Udp, Link::Any), at(Transport::Tcp, Link::Connection(1)));
        let some = |hop: &str, link| Some((hop.to_owned(), link));
        assert_eq!(way("sip:a@192.0.2.1", udp), some("udp:192.0.2.1:5060", Link::Any));
        assert_eq!(way("sip:a@192.0.2.1;transport=tcp", udp), some("tcp:192.0.2.1:5060", Link::Any));
        assert_eq!(way("sip:a@192.0.2.1:5070", tcp), some("tcp:192.0.2.1:5070", Link::Connection(1)));
        assert_eq!(way("sip:a@192.0.2.2:5070", tcp), some("tcp:192.0.2.2:5070", Link::Any));
        assert_eq!(way("sips:a@192.0.2.1", tcp), some("tls:192.0.2.1:5061", Link::Any));
        let tls = at(Transport::Tls, Link::Trunk(TrunkId(2)));
        assert_eq!(way("sip:a@192.0.2.9;transport=udp", tls), some("tls:192.0.2.9:5061", Link::Trunk(TrunkId(2))));
        assert_eq!(way("sip:a@pbx.example.com", tls), None);
    }

    #[test]
    fn an_inner_address_is_hidden_only_from_outside() {
        let hidden =
            |named: &str, seen: &str| is_hidden(named.parse().expect("address"), seen.parse().expect("address"));
        assert!(hidden("192.168.1.5", "203.0.113.9") && hidden("100.64.0.1", "203.0.113.9"));
        assert!(hidden("fd00::1", "2001:db8::1") && hidden("0.0.0.0", "127.0.0.1"));
        assert!(!hidden("192.168.1.5", "10.0.0.1"), "a route inside the same network");
        assert!(!hidden("203.0.113.7", "203.0.113.9"));
    }
}
