//! Placing a call: from a destination to the first INVITE.

use std::time::{Duration, Instant};

use super::trunk_ask::random_of;
use super::{CallKey, Entry, Output, UserAgent};
use crate::sip::dialog::call::{ALLOW, Dial, Target};
use crate::sip::dialog::{Call, Step};
use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, CallFailure, EndedBy};
use crate::sip::message::{Request, SipUri, Uri};
use crate::sip::resolve::plan::{self, Step as Search};
use crate::sip::resolve::{Families, Server, Site, Wanted, in_order};
use crate::sip::sdp::SessionDescription;
use crate::sip::transport::Transport;
use crate::sip::trunk::caller_id::{self, Caller, Shown};
use crate::sip::trunk::places::Choice;
use crate::sip::trunk::{MAX_SERVERS, Trunk};

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
}

/// Nobody waits longer, whatever is asked for.
const LONGEST_RING: Duration = Duration::from_secs(3_600);

/// The URI of `number` on a trunk, written as the trunk wants it; `None` when it holds what a number may not.
pub fn number_on(trunk: &Trunk, number: &str) -> Option<SipUri> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+*#-._".contains(&byte);
    let fine = !number.is_empty() && number.len() <= 128 && number.bytes().all(fits);
    let number = trunk.numbers.called_out(number);
    (fine && !number.is_empty())
        .then(|| SipUri::new(Some(&number), trunk.host.clone(), trunk.explicit_port.then_some(trunk.port)))
}

/// A URI given by hand; only plain `sip:` over UDP can be dialled.
pub fn dialable(text: &str) -> Option<SipUri> {
    let Ok(Uri::Sip(uri)) = Uri::parse(text) else { return None };
    let udp = uri.params.value("transport").is_none_or(|transport| transport.eq_ignore_ascii_case("udp"));
    (udp && !uri.secure && uri.headers.is_none() && text.len() <= 512).then_some(uri)
}

impl UserAgent {
    /// Places a call under a key of the caller's choice. The hosts of trunks are kept located; others are looked up.
    pub fn dial(&mut self, call: CallKey, order: DialOrder, now: Instant) {
        let Some(trunk) = self.trunks.find(&order.trunk) else {
            self.out.push(Output::Event { call, event: CallEvent::Ended { by: EndedBy::Lost } });
            return;
        };
        let wanted = if trunk.is_home_of(&order.target) {
            let tokens = &mut *self.settings.tokens;
            match trunk.choice(now, &mut || random_of(&tokens())) {
                Choice::Servers(servers) => return self.start_call(call, order, &servers, now),
                Choice::Resting(pause) => return self.all_rest(call, pause),
                Choice::Unknown => trunk.wanted(self.families),
            }
        } else {
            None
        };
        let wanted = wanted.unwrap_or_else(|| wanted_of(&order.target, self.families));
        match plan::step(&wanted, &|_| None) {
            Search::Found(sites) => self.start_at(call, order, &sites, now),
            Search::Lost(lost) => self.unreachable(call, lost.to_string()),
            Search::Ask(_) => {
                self.out.push(Output::Resolve { call, wanted });
                self.unresolved.insert(call, order);
            }
        }
    }

    /// The answer to [`Output::Resolve`].
    pub fn resolved(&mut self, call: CallKey, found: Result<Vec<Site>, String>, now: Instant) {
        let Some(order) = self.unresolved.remove(&call) else { return };
        match found {
            Ok(sites) => self.start_at(call, order, &sites, now),
            Err(problem) => self.unreachable(call, problem),
        }
    }

    fn start_at(&mut self, call: CallKey, order: DialOrder, sites: &[Site], now: Instant) {
        let tokens = &mut *self.settings.tokens;
        let mut servers = in_order(sites, &mut || random_of(&tokens()));
        servers.truncate(MAX_SERVERS);
        self.start_call(call, order, &servers, now);
    }

    fn unreachable(&mut self, call: CallKey, problem: String) {
        let event = CallEvent::Failed(CallFailure::Unreachable(problem));
        self.out.push(Output::Event { call, event });
    }

    /// Every server asked to be left alone: the call hears what they said (RFC 3261 §21.5.4).
    fn all_rest(&mut self, call: CallKey, pause: Duration) {
        let retry_after = Some(Duration::from_secs(pause.as_secs() + 1));
        let event = CallEvent::Rejected { code: 503, reason: "Service Unavailable".into(), retry_after };
        self.out.push(Output::Event { call, event });
    }

    fn start_call(&mut self, key: CallKey, order: DialOrder, servers: &[Server], now: Instant) {
        let (Some(trunk), Some(first)) = (self.trunks.find(&order.trunk), servers.first()) else {
            return self.unreachable(key, "it has no address".to_owned());
        };
        // Our password is shown to the trunk only, wherever the call goes.
        let home = trunk.is_home_of(&order.target);
        let known = home || servers.iter().all(|server| trunk.trusts(server.address));
        let auth = Authentication::new(trunk.credentials.clone().filter(|_| known));
        let caller = order.caller_number.as_deref().unwrap_or(trunk.default_caller());
        let caller = trunk.numbers.caller_out(caller);
        let account = trunk.default_caller();
        let said = Caller { number: &caller, name: order.caller_name.as_deref(), account, host: &trunk.host };
        let shown = caller_id::shown(&trunk.identity, trunk.anonymous, said);
        let routes = if known { trunk.routes() } else { Vec::new() };
        // A registrar's edge finds our binding by the account that stands in Contact.
        let contact = if trunk.registration.is_some() { trunk.account() } else { caller.as_str() };
        let to = trunk.hop(first.transport, first.address);
        let local = self.local_end(to, contact);
        let others = servers.iter().skip(1).map(|server| trunk.hop(server.transport, server.address));
        let others = others.map(|to| Target { to, local: self.local_end(to, contact) }).collect();
        let tag = (self.settings.tokens)();
        let mut invite = invite(&order, shown, &tag);
        for route in routes {
            invite.fields.push("Route", route);
        }
        invite.fields.push("Contact", local.contact.clone());
        invite.fields.push("User-Agent", local.user_agent.clone());
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
        };
        let call = Call::dial(dial, &mut step);
        self.dialogs.insert((order.call_id, tag), key);
        self.calls.insert(key, Entry { call, place: None, invites: Vec::new() });
        self.carry_out(key, acts, now);
        self.settle(key, now);
    }
}

/// What a URI given by hand is looked up as.
fn wanted_of(target: &SipUri, families: Families) -> Wanted {
    let asked = target.params.value("transport").and_then(Transport::parse);
    let usual = if target.secure { Transport::Tls } else { Transport::Udp };
    let transport = Some(asked.unwrap_or(usual));
    Wanted { host: target.host.clone(), port: target.port, transport, secure: target.secure, families }
}

/// Everything but Via, Route, Contact and User-Agent.
fn invite(order: &DialOrder, shown: Shown, tag: &str) -> Request {
    let target = Uri::Sip(order.target.clone());
    let mut invite = Request::new(rsip::Method::Invite.into(), target.clone());
    invite.fields.push("Max-Forwards", "70");
    invite.fields.push("From", format!("{};tag={tag}", shown.from));
    invite.fields.push("To", format!("<{target}>"));
    invite.fields.push("Call-ID", order.call_id.clone());
    invite.fields.push("CSeq", "1 INVITE");
    for (name, value) in shown.others {
        invite.fields.push(name, value);
    }
    invite.fields.push("Allow", ALLOW);
    invite.with_body("application/sdp", order.offer.write())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_sip_uris_can_be_dialled() {
        assert!(dialable("sip:user@192.0.2.1:5070;transport=UDP").is_some());
        for text in ["sips:a@b", "sip:a@b;transport=tcp", "sip:a@b?Route=x", "tel:1", "sip:a b@c", "sip:a@b\r\nX: y"] {
            assert!(dialable(text).is_none(), "{text}");
        }
    }
}
