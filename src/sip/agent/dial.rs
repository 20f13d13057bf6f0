//! Placing a call: from a destination to the first INVITE.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{CallKey, Entry, Origin, Output, UserAgent};
use crate::sip::dialog::call::{ALLOW, Dial, Target};
use crate::sip::dialog::redirect::DialPolicy;
use crate::sip::dialog::replaces::carried;
use crate::sip::dialog::{Call, Step};
use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, CallFailure, EndedBy};
use crate::sip::message::params::quote;
use crate::sip::message::uri::escape_user;
use crate::sip::message::{Host, Request, SipUri, Uri};
use crate::sip::sdp::SessionDescription;
use crate::sip::transport::Transport;
use crate::sip::trunk::Trunk;

/// An outbound call whose trunk and target were checked.
#[derive(Debug)]
pub struct DialOrder {
    pub trunk: String,
    pub target: SipUri,
    pub caller_number: Option<String>,
    pub caller_name: Option<String>,
    pub offer: SessionDescription,
    pub ring_timeout: Duration,
    pub call_id: String,
    /// Where a redirection may lead.
    pub policy: DialPolicy,
}

/// Addresses of one host that a call tries.
const MAX_ADDRESSES: usize = 4;
/// Nobody waits longer, whatever is asked for.
const LONGEST_RING: Duration = Duration::from_secs(3_600);

/// The URI of `number` on a trunk; `None` when it holds what a number may not.
pub fn number_on(trunk: &Trunk, number: &str) -> Option<SipUri> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+*#-._".contains(&byte);
    let fine = !number.is_empty() && number.len() <= 128 && number.bytes().all(fits);
    let mut uri = SipUri::new(Some(number), trunk.host.clone(), trunk.explicit_port.then_some(trunk.port));
    if trunk.transport.is_reliable() {
        uri.params.set("transport", trunk.transport.name().to_owned());
    }
    fine.then_some(uri)
}

/// A URI given by hand: `sip:` over a transport that is spoken here, or `sips:`.
pub fn dialable(text: &str) -> Option<SipUri> {
    let Ok(Uri::Sip(uri)) = Uri::parse(text) else { return None };
    let spoken = uri.params.value("transport").is_none_or(|transport| Transport::parse(transport).is_some());
    (spoken && uri.headers.is_none() && text.len() <= 512).then_some(uri)
}

impl UserAgent {
    /// Places a call under a key of the caller's choice. The names of trunks are kept resolved; others are looked up.
    pub fn dial(&mut self, call: CallKey, order: DialOrder, now: Instant) {
        if let Some(trace) = &self.trace {
            trace.open(&order.call_id);
        }
        let trunk = self.trunks.find(&order.trunk).filter(|trunk| trunk.host == order.target.host);
        let known = trunk.map(|trunk| trunk.addresses().to_vec()).unwrap_or_default();
        match &order.target.host {
            Host::Ip(ip) => {
                let ip = *ip;
                self.start_call(call, order, vec![ip], now);
            }
            Host::Name(_) if !known.is_empty() => self.start_call(call, order, known, now),
            Host::Name(host) => {
                self.out.push(Output::Resolve { call, host: host.clone() });
                self.unresolved.insert(call, order);
            }
        }
    }

    /// The answer to [`Output::Resolve`].
    pub fn resolved(&mut self, call: CallKey, found: Result<Vec<IpAddr>, String>, now: Instant) {
        let Some(order) = self.unresolved.remove(&call) else { return };
        match found {
            Ok(ips) => self.start_call(call, order, ips, now),
            Err(problem) => self.unreachable(call, problem),
        }
    }

    fn unreachable(&mut self, call: CallKey, problem: String) {
        let event = CallEvent::Failed(CallFailure::Unreachable(problem));
        self.out.push(Output::Event { call, event });
    }

    fn start_call(&mut self, key: CallKey, order: DialOrder, mut ips: Vec<IpAddr>, now: Instant) {
        let Some(trunk) = self.trunks.find(&order.trunk) else {
            self.out.push(Output::Event { call: key, event: CallEvent::Ended { by: EndedBy::Lost } });
            return;
        };
        trunk.answering_first(&mut ips, now);
        ips.truncate(MAX_ADDRESSES);
        let Some(&ip) = ips.first() else { return self.unreachable(key, "it has no address".to_owned()) };
        let transport = transport_to(&order.target, trunk);
        let port = order.target.port.unwrap_or(transport.default_port());
        let hop = |ip: IpAddr| trunk.hop(transport, SocketAddr::new(ip, port));
        let to = hop(ip);
        // Our password is shown to the trunk only, wherever the call goes.
        let known = trunk.host == order.target.host || ips.iter().all(|ip| trunk.trusts(SocketAddr::new(*ip, port)));
        let auth = Authentication::new(trunk.credentials.clone().filter(|_| known));
        let caller = order.caller_number.clone().or_else(|| trunk.caller.clone()).unwrap_or_default();
        let from_host = trunk.host.clone();
        let local = match order.target.secure {
            true => self.local_end(to, &caller).secured(),
            false => self.local_end(to, &caller),
        };
        let others = ips.iter().skip(1).map(|ip| hop(*ip));
        let others = others.map(|to| Target { to, local: self.local_end(to, &caller) }).collect();
        let tag = (self.settings.tokens)();
        let invite = invite(&order, &caller, &from_host, &tag, &local.contact, &local.user_agent);
        let ring_until = now + order.ring_timeout.min(LONGEST_RING);
        let mut acts = Vec::new();
        let tokens = &mut *self.settings.tokens;
        let mut step = Step { now, timers: self.settings.timers, tokens, out: &mut acts };
        let dial = Dial {
            invite,
            to,
            offer: order.offer,
            ring_until,
            local,
            others,
            auth,
            call_id: order.call_id.clone(),
            local_tag: tag.clone(),
            timer: self.settings.session_timer,
            policy: order.policy,
        };
        let call = Call::dial(dial, &mut step);
        self.dialogs.insert((order.call_id, tag), key);
        let origin = Origin::Trunk(order.trunk);
        self.calls.insert(key, Entry { call, place: None, origin, invites: Vec::new() });
        self.carry_out(key, acts, now);
        self.settle(key, now);
    }
}

/// What the target asks for, else what the trunk speaks when the target is there.
fn transport_to(target: &SipUri, trunk: &Trunk) -> Transport {
    let asked = target.params.value("transport").and_then(Transport::parse);
    match asked {
        _ if target.secure => Transport::Tls,
        Some(transport) => transport,
        None if target.host == trunk.host => trunk.transport,
        None => Transport::Udp,
    }
}

/// Everything but Via.
fn invite(order: &DialOrder, caller: &str, host: &Host, tag: &str, contact: &str, user_agent: &str) -> Request {
    let mut target = order.target.clone();
    let carried = carried(&mut target);
    let target = Uri::Sip(target);
    let user = escape_user(if caller.is_empty() { "anonymous" } else { caller });
    let name = order.caller_name.as_deref().map(|name| format!("{} ", quote(name))).unwrap_or_default();
    let mut invite = Request::new(rsip::Method::Invite.into(), target.clone());
    invite.fields.push("Max-Forwards", "70");
    invite.fields.push("From", format!("{name}<sip:{user}@{host}>;tag={tag}"));
    invite.fields.push("To", format!("<{target}>"));
    invite.fields.push("Call-ID", order.call_id.clone());
    invite.fields.push("CSeq", "1 INVITE");
    invite.fields.push("Contact", contact);
    invite.fields.push("Allow", ALLOW);
    invite.fields.push("User-Agent", user_agent);
    for (name, value) in carried {
        invite.fields.push(&name, value);
    }
    invite.with_body("application/sdp", order.offer.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_sip_uris_can_be_dialled() {
        for text in ["sip:user@192.0.2.1:5070;transport=UDP", "sips:a@b", "sip:a@b;transport=tcp"] {
            assert!(dialable(text).is_some(), "{text}");
        }
        for text in ["sip:a@b;transport=sctp", "sip:a@b?Route=x", "tel:1", "sip:a b@c", "sip:a@b\r\nX: y"] {
            assert!(dialable(text).is_none(), "{text}");
        }
    }
}
