//! Placing a call: from a destination to the first INVITE.

use std::time::{Duration, Instant};

use super::trunk_ask::random_of;
use super::{CallKey, Entry, Origin, Output, UserAgent};
use crate::sip::dialog::call::{ALLOW, Dial, Target};
use crate::sip::dialog::redirect::DialPolicy;
use crate::sip::dialog::replaces::carried;
use crate::sip::dialog::{Call, Step};
use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, CallFailure, EndedBy};
use crate::sip::message::{Request, SipUri, Uri};
use crate::sip::resolve::plan::{self, Step as Search};
use crate::sip::resolve::{Families, Server, Site, Wanted, in_order};
use crate::sip::sdp::SessionDescription;
use crate::sip::transport::Transport;
use crate::sip::trunk::caller_id::{self, Caller, Shown};
use crate::sip::trunk::health::Health;
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
    /// Where a redirection may lead.
    pub policy: DialPolicy,
}

/// Nobody waits longer, whatever is asked for.
const LONGEST_RING: Duration = Duration::from_secs(3_600);

/// The URI of `number` on a trunk, written as the trunk wants it; `None` when it holds what a number may not.
pub fn number_on(trunk: &Trunk, number: &str) -> Option<SipUri> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+*#-._".contains(&byte);
    let fine = !number.is_empty() && number.len() <= 128 && number.bytes().all(fits);
    let number = trunk.numbers.called_out(number);
    let mut uri = SipUri::new(Some(&number), trunk.host.clone(), trunk.explicit_port.then_some(trunk.port));
    if trunk.transport.is_reliable() {
        uri.params.set("transport", trunk.transport.name().to_owned());
    }
    (fine && !number.is_empty()).then_some(uri)
}

/// A URI given by hand: `sip:` over a transport that is spoken here, or `sips:`.
pub fn dialable(text: &str) -> Option<SipUri> {
    let Ok(Uri::Sip(uri)) = Uri::parse(text) else { return None };
    let spoken = uri.params.value("transport").is_none_or(|transport| Transport::parse(transport).is_some());
    (spoken && uri.headers.is_none() && text.len() <= 512).then_some(uri)
}

impl UserAgent {
    /// Places a call under a key of the caller's choice. The hosts of trunks are kept located; others are looked up.
    pub fn dial(&mut self, call: CallKey, order: DialOrder, now: Instant) {
        if let Some(trace) = &self.trace {
            trace.open(&order.call_id);
        }
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
        let wanted = wanted.unwrap_or_else(|| wanted_of(&order.target, trunk, self.families));
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
        let down = home && trunk.health.as_ref().is_some_and(Health::is_down);
        let secure = order.target.secure;
        let target = |server: &Server| {
            let to = trunk.hop(server.transport, server.address);
            let local = self.local_end(to, contact);
            Target { to, local: if secure { local.secured() } else { local } }
        };
        let Target { to, local } = target(first);
        let others = servers.iter().skip(1).map(target).collect();
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
            down,
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

/// What a URI given by hand is looked up as: over what it asks for, else what the trunk speaks when it is there.
fn wanted_of(target: &SipUri, trunk: &Trunk, families: Families) -> Wanted {
    let asked = target.params.value("transport").and_then(Transport::parse);
    let transport = match asked {
        _ if target.secure => Transport::Tls,
        Some(transport) => transport,
        None if target.host == trunk.host => trunk.transport,
        None => Transport::Udp,
    };
    let (host, port, secure) = (target.host.clone(), target.port, target.secure);
    Wanted { host, port, transport: Some(transport), secure, families }
}

/// Everything but Via, Route, Contact and User-Agent.
fn invite(order: &DialOrder, shown: Shown, tag: &str) -> Request {
    let mut target = order.target.clone();
    let carried = carried(&mut target);
    let target = Uri::Sip(target);
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
