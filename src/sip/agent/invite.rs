//! A new INVITE from outside: who sent it, may it come in, and what does it want.

use std::time::Instant;

use super::{Entry, Incoming, MAX_ANSWERING, MAX_CALLS, Origin, Output, ServerOwner, UserAgent};
use crate::sip::dialog::Call;
use crate::sip::dialog::call::Arrival;
use crate::sip::dialog::session::offer_of;
use crate::sip::dialog::timer::SessionTimer;
use crate::sip::digest::server::Verdict;
use crate::sip::message::{Checked, Provenance, Request, Response};
use crate::sip::transaction::ServerKey;
use crate::sip::transport::{Hop, Transport};

/// Seconds after which a refused caller may try again.
pub(super) const RETRY_AFTER: &str = "10";

impl UserAgent {
    pub(super) fn on_invite(
        &mut self,
        request: Request,
        checked: &Checked,
        key: &ServerKey,
        source: Hop,
        now: Instant,
    ) {
        let origin = match self.admit(&request, source, now) {
            Ok(origin) => origin,
            Err(refusal) => return self.send_stateless(*refusal, source, now),
        };
        if !self.keeps_pace(&origin, now) {
            return self.send_stateless(Response::to(&request, 503).with("Retry-After", "1"), source, now);
        }
        let offer = match offer_of(&request) {
            Ok(offer) => offer,
            Err(refusal) => return self.send_stateless(*refusal, source, now),
        };
        if !takes_sdp(&request) {
            return self.send_stateless(Response::to(&request, 406), source, now);
        }
        if let Some(least) = SessionTimer::new(self.settings.session_timer).too_short(&request.fields) {
            let refusal = Response::to(&request, 422).with("Min-SE", least.to_string());
            return self.send_stateless(refusal, source, now);
        }
        let replaces = match self.replaced(&request, &origin) {
            Ok(replaces) => replaces,
            Err(refusal) => return self.send_stateless(*refusal, source, now),
        };
        let merge = format!("{} {} {}", checked.call_id, checked.from_tag(), checked.cseq.number);
        if self.merged.contains_key(&merge) {
            return self.send_stateless(Response::to(&request, 482), source, now);
        }
        let full = self.calls.len() >= MAX_CALLS || self.servers.len() >= MAX_ANSWERING;
        if full || !self.guard.enter(source.ip()) {
            return self.send_stateless(Response::to(&request, 503).with("Retry-After", RETRY_AFTER), source, now);
        }
        let call_key = (self.settings.call_keys)();
        let owner = ServerOwner { call: Some(call_key), merge: Some(merge.clone()) };
        let reply_to = checked.via.reply_to(source);
        self.servers.start(key.clone(), true, reply_to, owner, self.settings.timers);
        self.merged.insert(merge, key.clone());
        self.respond(key, Response::to(&request, 100), now);

        let called = self.called(&request, checked, &origin);
        let (caller, caller_name) = self.caller(&request, checked, &origin);
        let local_ip = (self.settings.local_address)(source.ip());
        let mut local = self.local_end(source, &called);
        if request.uri.sip().is_some_and(|uri| uri.secure) {
            local = local.secured();
        }
        let tag = (self.settings.tokens)();
        let refusal = Response::to(&request, 400).with_to_tag(&tag);
        let provenance = match &origin {
            Origin::Trunk(_) => Provenance::read(&request.fields, &called),
            Origin::Extension(_) => Provenance::default(),
        };
        let (peer, local_tag, timer) = (source, tag.clone(), self.settings.session_timer);
        let arrival = Arrival { invite: request, key: key.clone(), peer, local, local_tag, timer };
        let call = Call::incoming(arrival, offer.clone(), checked, now);
        let Some(call) = call else {
            self.guard.leave(source.ip());
            return self.respond(key, refusal, now);
        };
        self.dialogs.insert((checked.call_id.clone(), tag), call_key);
        let entry = Entry { call, place: Some(source.ip()), origin: origin.clone(), invites: Vec::new() };
        self.calls.insert(call_key, entry);
        self.settle(call_key, now);
        self.out.push(Output::Incoming(Box::new(Incoming {
            call: call_key,
            call_id: checked.call_id.clone(),
            called,
            caller,
            caller_name,
            origin,
            offer,
            provenance,
            local: local_ip,
            replaces,
            secure: source.transport == Transport::Tls,
        })));
    }

    /// Only trunks and extensions come in; strangers cost no state.
    pub(super) fn admit(&mut self, request: &Request, source: Hop, now: Instant) -> Result<Origin, Box<Response>> {
        let origin = match self.trunk_of_call(source, &request.uri.number()) {
            Some(trunk) => Origin::Trunk(trunk.name.clone()),
            None if self.authority.has_users() => Origin::Extension(self.authenticate(request, source, now)?),
            None => return Err(Box::new(Response::to(request, 403))),
        };
        if self.refusing {
            return Err(Box::new(Response::to(request, 503).with("Retry-After", "30")));
        }
        Ok(origin)
    }

    pub(super) fn authenticate(
        &mut self,
        request: &Request,
        source: Hop,
        now: Instant,
    ) -> Result<String, Box<Response>> {
        if let Some(left) = self.guard.locked_for(source.ip(), now) {
            let seconds = left.as_secs() + 1;
            return Err(Box::new(Response::to(request, 503).with("Retry-After", seconds.to_string())));
        }
        let (method, uri) = (request.method.to_string(), request.uri.to_string());
        let values = request.fields.all("Authorization");
        let verdict = self.authority.judge(values, &method, &uri, source.ip(), now);
        if verdict == Verdict::Wrong {
            metrics::counter!("trunkline_sip_digest_failures_total").increment(1);
            self.guard.failed(source.ip(), now);
        }
        match verdict {
            Verdict::Accepted(user) => {
                self.guard.vouch(source.ip(), now);
                Ok(user)
            }
            Verdict::Wrong | Verdict::Challenge { .. } => {
                let stale = verdict == Verdict::Challenge { stale: true };
                let mut response = Response::to(request, 401);
                for challenge in self.authority.challenges(source.ip(), stale, now) {
                    response.fields.push("WWW-Authenticate", challenge);
                }
                Err(Box::new(response))
            }
        }
    }
}

/// Whether our answer may be a session description (RFC 3261 §20.1).
fn takes_sdp(request: &Request) -> bool {
    let accepted = request.fields.list("Accept");
    let fits = |value: &String| {
        let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(kind.as_str(), "application/sdp" | "application/*" | "*/*")
    };
    request.fields.count("Accept") == 0 || accepted.iter().any(fits)
}
