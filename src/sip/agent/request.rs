//! Requests from outside: to their transaction, their dialog, or the answer that they are owed.

use std::time::Instant;

use super::invite::RETRY_AFTER;
use super::register::UNDERSTOOD;
use super::{CallKey, MAX_ANSWERING, ServerOwner, UserAgent, stamp};
use crate::sip::dialog::call::ALLOW;
use crate::sip::dialog::options;
use crate::sip::message::check::check;
use crate::sip::message::{Checked, Method, Owed, Request, Response, Uri};
use crate::sip::transaction::ServerKey;
use crate::sip::transport::{Hop, Transport};

impl UserAgent {
    pub(super) fn on_request(&mut self, mut request: Request, source: Hop, now: Instant) {
        let is_ack = request.is(rsip::Method::Ack);
        let Some(sound_via) = stamp(&mut request.fields, source) else {
            metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
            return;
        };
        let checked = if sound_via { check(&request) } else { Err(Owed { status: 400, reason: "Malformed Via" }) };
        let checked = match checked {
            Ok(checked) => checked,
            Err(owed) => {
                metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
                if !is_ack {
                    let mut response = Response::to(&request, owed.status);
                    response.reason = owed.reason.to_owned();
                    self.send_stateless(response, source, now);
                }
                return;
            }
        };
        let key = ServerKey::of_request(&request, &checked);
        if self.servers.find(&key).is_some() {
            if is_ack {
                self.servers.ack(&key, now);
                self.server_outputs(&key, Vec::new());
            } else {
                let outputs = self.servers.repeated(&key);
                self.server_outputs(&key, outputs);
            }
            // The ACK of a 2xx may carry the branch of its INVITE when the peer is careless.
            if !is_ack {
                return;
            }
        }
        if is_ack {
            if let Some(call) = self.call_of(&checked) {
                self.with_call(call, now, |call, step| call.ack(&request, &checked, step));
            }
            return;
        }
        self.on_new_request(request, &checked, &key, source, now);
    }

    fn on_new_request(&mut self, request: Request, checked: &Checked, key: &ServerKey, source: Hop, now: Instant) {
        if request.is(rsip::Method::Cancel) {
            return self.on_cancel(&request, checked, key, source, now);
        }
        if checked.to.tag().is_none() && self.is_hopeless(source) {
            return self.send_stateless(Response::to(&request, 403), source, now);
        }
        if let Some(refusal) = unsupported(&request, source.transport) {
            return self.send_stateless(refusal, source, now);
        }
        if checked.to.tag().is_some() {
            match self.call_of(checked) {
                Some(call) => self.in_dialog(&request, checked, key, call, source, now),
                None => self.send_stateless(Response::to(&request, 481), source, now),
            }
            return;
        }
        match request.method {
            Method::Known(rsip::Method::Invite) => self.on_invite(request, checked, key, source, now),
            Method::Known(rsip::Method::Options) => {
                let response = self.options(&request, source, now);
                self.send_stateless(response, source, now);
            }
            // Outside a call nobody may send us calling.
            Method::Known(rsip::Method::Refer) => self.send_stateless(Response::to(&request, 403), source, now),
            Method::Known(rsip::Method::Register) => self.on_register(&request, checked, key, source, now),
            Method::Known(rsip::Method::Message) => self.on_message(&request, checked, key, source, now),
            // BYE, UPDATE and INFO live in dialogs only.
            _ => self.send_stateless(Response::to(&request, 481), source, now),
        }
    }

    fn in_dialog(
        &mut self,
        request: &Request,
        checked: &Checked,
        key: &ServerKey,
        call: CallKey,
        source: Hop,
        now: Instant,
    ) {
        let secure = self.calls.get(&call).is_some_and(|entry| entry.call.is_secure());
        if secure && source.transport != Transport::Tls {
            return self.send_stateless(Response::to(request, 403), source, now);
        }
        let most = if request.is(rsip::Method::Bye) { 2 * MAX_ANSWERING } else { MAX_ANSWERING };
        if self.servers.len() >= most {
            return self.send_stateless(Response::to(request, 503).with("Retry-After", RETRY_AFTER), source, now);
        }
        self.guard.vouch(source.ip(), now);
        let reply_to = checked.via.reply_to(source);
        let owner = ServerOwner { call: Some(call), merge: None };
        let invite = request.is(rsip::Method::Invite);
        self.servers.start(key.clone(), invite, reply_to, owner, self.settings.timers);
        self.with_call(call, now, |call, step| call.request(request, checked, key, source, step));
    }

    fn on_cancel(&mut self, request: &Request, checked: &Checked, key: &ServerKey, source: Hop, now: Instant) {
        let invite = ServerKey::of_cancelled(request, checked);
        let Some(call) = self.servers.find(&invite).map(|server| server.owner.call) else {
            return self.send_stateless(Response::to(request, 481), source, now);
        };
        if self.servers.len() >= 2 * MAX_ANSWERING {
            return self.send_stateless(Response::to(request, 503).with("Retry-After", RETRY_AFTER), source, now);
        }
        let tag = call.and_then(|call| self.calls.get(&call)).map(|entry| entry.call.local_tag.clone());
        let reply_to = checked.via.reply_to(source);
        self.servers.start(key.clone(), false, reply_to, ServerOwner::default(), self.settings.timers);
        let response = Response::to(request, 200).with_to_tag(&tag.unwrap_or_default());
        self.respond(key, response, now);
        if let Some(call) = call
            && self.servers.is_open(&invite)
        {
            self.with_call(call, now, |call, step| call.cancelled(request, step));
        }
    }

    /// The same code that an INVITE would get (RFC 3261 §11.2): the keep-alive of a trunk gets 200, a stranger what every
    /// stranger gets.
    fn options(&mut self, request: &Request, source: Hop, now: Instant) -> Response {
        if let Err(refusal) = self.admit(request, source, now) {
            return *refusal;
        }
        options::answer_outside(request)
    }

    /// Neither a trunk, nor could it ever become an extension.
    pub(super) fn is_hopeless(&self, source: Hop) -> bool {
        !self.authority.has_users() && self.trunk_of(source).is_none()
    }

    fn call_of(&self, checked: &Checked) -> Option<CallKey> {
        let tag = checked.to.tag()?.to_owned();
        self.dialogs.get(&(checked.call_id.clone(), tag)).copied()
    }
}

/// What we do not do, and how it is said (RFC 3261 §8.2.1, §8.2.2).
fn unsupported(request: &Request, transport: Transport) -> Option<Response> {
    let spoken = match &request.method {
        Method::Extension(_) => return Some(Response::to(request, 501).with("Allow", ALLOW)),
        Method::Known(
            rsip::Method::Invite
            | rsip::Method::Bye
            | rsip::Method::Options
            | rsip::Method::Update
            | rsip::Method::Info
            | rsip::Method::PRack
            | rsip::Method::Refer
            | rsip::Method::Notify
            | rsip::Method::Register
            | rsip::Method::Message,
        ) => true,
        Method::Known(_) => false,
    };
    if !spoken {
        return Some(Response::to(request, 405).with("Allow", ALLOW));
    }
    let secure = request.uri.sip().is_some_and(|uri| uri.secure);
    if matches!(request.uri, Uri::Other(_)) || (secure && transport != Transport::Tls) {
        return Some(Response::to(request, 416));
    }
    // ACK and CANCEL never come here: Require means nothing in them (RFC 3261 §8.2.2.3).
    let also: &[&str] = if request.is(rsip::Method::Register) { &UNDERSTOOD } else { &[] };
    options::unknown(&request.fields, also).map(|unknown| Response::to(request, 420).with("Unsupported", unknown))
}
