//! Calling an extension: one INVITE to each of its phones, and one call towards its owner.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::register::request_to;
use super::{CallKey, Entry, Origin, Output, UserAgent};
use crate::sip::dialog::call::{ALLOW, Dial};
use crate::sip::dialog::redirect::DialPolicy;
use crate::sip::dialog::{Call, Step};
use crate::sip::digest::client::Authentication;
use crate::sip::event::{CallEvent, Command, OfferOutcome};
use crate::sip::message::Reason;
use crate::sip::message::params::quote;
use crate::sip::registrar::fork::Act;
use crate::sip::registrar::{Binding, Fork};
use crate::sip::sdp::SessionDescription;
use crate::sip::transport::Transport;

/// A call to an extension.
#[derive(Debug, Clone)]
pub struct RingOrder {
    pub user: String,
    /// What the phone shows.
    pub caller_name: Option<String>,
    pub offer: SessionDescription,
    pub ring_timeout: Duration,
    pub call_id: String,
}

/// A call that rings phones, or was taken by one.
pub(super) struct Ringing {
    fork: Fork<CallKey>,
    order: RingOrder,
    waiting: VecDeque<Vec<Binding>>,
    /// The time of each group.
    each: Duration,
}

/// Nobody waits longer, whatever is asked for.
const LONGEST_RING: Duration = Duration::from_secs(3_600);

/// Those that may be offered it: what means nothing without keys goes to phones over TLS only.
fn hearing(groups: Vec<Vec<Binding>>, offer: &SessionDescription) -> Vec<Vec<Binding>> {
    let hears = |binding: &Binding| binding.hop.transport == Transport::Tls || offer.over_plain().is_some();
    let groups = groups.into_iter().map(|group| group.into_iter().filter(hears).collect::<Vec<_>>());
    groups.filter(|group| !group.is_empty()).collect()
}

impl UserAgent {
    /// Rings every phone of the extension under a key of the caller's choice: those of the highest q together, then
    /// the next.
    pub fn ring(&mut self, call: CallKey, order: RingOrder, now: Instant) {
        if let Some(trace) = &self.trace {
            trace.open(&order.call_id);
        }
        let groups = self.phones.location.targets(&order.user, now);
        let registered = !groups.is_empty();
        let waiting: VecDeque<Vec<Binding>> = hearing(groups, &order.offer).into();
        let Ok(groups @ 1..) = u32::try_from(waiting.len()) else {
            let (code, reason) = if registered { (488, "Not Over TLS") } else { (480, "Not Registered") };
            let event = CallEvent::Rejected { code, reason: reason.into(), retry_after: None };
            self.out.push(Output::Event { call, event });
            return;
        };
        let each = order.ring_timeout.min(LONGEST_RING) / groups;
        let fork = Fork::new(waiting.len());
        self.phones.ringing.insert(call, Ringing { fork, order, waiting, each });
        self.ring_next(call, now);
    }

    fn ring_next(&mut self, parent: CallKey, now: Instant) {
        let Some(ringing) = self.phones.ringing.get_mut(&parent) else { return };
        let group = ringing.waiting.pop_front().unwrap_or_default();
        let keys: Vec<CallKey> = group.iter().map(|_| (self.settings.call_keys)()).collect();
        ringing.fork.ringing(keys.iter().copied());
        let (order, ring_until) = (ringing.order.clone(), now + ringing.each);
        self.phones.branches.extend(keys.iter().map(|key| (*key, parent)));
        for (key, binding) in keys.into_iter().zip(group) {
            self.ring_one(key, &binding, &order, ring_until, now);
        }
    }

    fn ring_one(&mut self, key: CallKey, binding: &Binding, order: &RingOrder, ring_until: Instant, now: Instant) {
        // Keys go over TLS only, whatever else the extension's other phones speak.
        let plain = if binding.hop.transport == Transport::Tls { None } else { order.offer.over_plain() };
        let offer = plain.unwrap_or_else(|| order.offer.clone());
        let local = self.local_end(binding.hop, "");
        let tag = (self.settings.tokens)();
        let name = order.caller_name.as_deref().map(|name| format!("{} ", quote(name))).unwrap_or_default();
        let mut invite = request_to(binding, rsip::Method::Invite);
        invite.fields.push("From", format!("{name}<sip:{}>;tag={tag}", local.sent_by));
        invite.fields.push("To", format!("<{}>", binding.contact));
        invite.fields.push("Call-ID", order.call_id.clone());
        invite.fields.push("CSeq", "1 INVITE");
        invite.fields.push("Contact", local.contact.clone());
        invite.fields.push("Allow", ALLOW);
        invite.fields.push("User-Agent", local.user_agent.clone());
        let invite = invite.with_body("application/sdp", offer.write());
        let dial = Dial {
            invite,
            to: binding.hop,
            offer,
            ring_until,
            local,
            others: VecDeque::new(),
            down: false,
            auth: Authentication::default(),
            call_id: order.call_id.clone(),
            local_tag: tag.clone(),
            timer: self.settings.session_timer,
            policy: DialPolicy::default(),
        };
        let mut acts = Vec::new();
        let tokens = &mut *self.settings.tokens;
        let call = Call::dial(dial, &mut Step { now, timers: self.settings.timers, tokens, out: &mut acts });
        self.dialogs.insert((order.call_id.clone(), tag), key);
        let origin = Origin::Extension(order.user.clone());
        self.calls.insert(key, Entry { call, place: None, origin, invites: Vec::new() });
        self.carry_out(key, acts, now);
        self.settle(key, now);
    }

    /// Tells the owner of a call what happened to it; of a call to one of several phones, what follows from it.
    pub(super) fn tell(&mut self, call: CallKey, event: CallEvent, now: Instant) {
        let Some(&parent) = self.phones.branches.get(&call) else {
            self.out.push(Output::Event { call, event });
            return;
        };
        let Some(ringing) = self.phones.ringing.get_mut(&parent) else { return };
        let acts = ringing.fork.event(call, event);
        self.fork_acts(parent, acts, now);
    }

    fn fork_acts(&mut self, parent: CallKey, acts: Vec<Act<CallKey>>, now: Instant) {
        for act in acts {
            match act {
                Act::Tell(event) => self.out.push(Output::Event { call: parent, event }),
                Act::HangUp(branch) => {
                    let taken = self.phones.ringing.get(&parent).is_some_and(|ringing| ringing.fork.winner().is_some());
                    if taken {
                        self.command(branch, Command::Because(Reason::answered_elsewhere()), now);
                    }
                    self.command(branch, Command::HangUp, now);
                }
                Act::RingNext => self.ring_next(parent, now),
            }
        }
        if self.phones.ringing.get(&parent).is_some_and(|ringing| ringing.fork.is_over()) {
            self.phones.ringing.remove(&parent);
        }
    }

    /// The call that a command of the owner of `call` is meant for; `None` when nothing is left to be done.
    pub(super) fn aimed(&mut self, call: CallKey, command: &Command, now: Instant) -> Option<CallKey> {
        let Some(ringing) = self.phones.ringing.get_mut(&call) else { return Some(call) };
        if let Some(winner) = ringing.fork.winner() {
            return Some(winner);
        }
        match command {
            Command::HangUp => {
                let acts = ringing.fork.hang_up();
                self.fork_acts(call, acts, now);
            }
            Command::Offer(_) => self.out.push(Output::OfferDone { call, outcome: OfferOutcome::Refused(0) }),
            _ => {}
        }
        None
    }

    /// Our address, as the first phone of the extension reaches it.
    pub fn address_towards_extension(&self, user: &str, now: Instant) -> Option<IpAddr> {
        let binding = self.phones.location.targets(user, now).into_iter().flatten().next()?;
        Some((self.settings.local_address)(binding.hop.ip()))
    }

    /// The key that the owner of a call knows it by.
    pub(super) fn known_as(&self, call: CallKey) -> CallKey {
        self.phones.branches.get(&call).copied().unwrap_or(call)
    }
}
