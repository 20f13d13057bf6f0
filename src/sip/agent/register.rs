//! REGISTER of a phone, and the probes that tell whether it is still there.

use std::time::Instant;

use super::errand::{Errand, Purpose};
use super::invite::RETRY_AFTER;
use super::phones::FLOW_TIMER;
use super::schedule::Wake;
use super::{MAX_ANSWERING, ServerOwner, UserAgent};
use crate::sip::dialog::call::ALLOW;
use crate::sip::message::uri::unescape;
use crate::sip::message::{Checked, Request, Response, Uri};
use crate::sip::registrar::location::Probed;
use crate::sip::registrar::{Binding, BindingId, Refusal, Registration};
use crate::sip::transaction::ServerKey;
use crate::sip::transport::Hop;

/// Extensions of REGISTER that a phone may demand (RFC 5626, RFC 3327).
pub(super) const UNDERSTOOD: [&str; 2] = ["outbound", "path"];

impl UserAgent {
    /// Signed in like a call, wherever it comes from: a trunk's address is no password.
    pub(super) fn on_register(
        &mut self,
        request: &Request,
        checked: &Checked,
        key: &ServerKey,
        source: Hop,
        now: Instant,
    ) {
        if !self.authority.has_users() {
            // Without extensions there is no registrar here.
            return self.send_stateless(Response::to(request, 405).with("Allow", ALLOW), source, now);
        }
        let user = match self.authenticate(request, source, now) {
            Ok(user) => user,
            Err(refusal) => return self.send_stateless(*refusal, source, now),
        };
        if self.servers.len() >= MAX_ANSWERING {
            return self.send_stateless(Response::to(request, 503).with("Retry-After", RETRY_AFTER), source, now);
        }
        let response = match self.registered(&user, request, checked, source, now) {
            Ok(response) => response,
            Err(refusal) => refused(request, &refusal),
        };
        // A repetition gets the same answer: its nonce count and its CSeq are used up.
        let reply_to = checked.via.reply_to(source);
        self.servers.start(key.clone(), false, reply_to, ServerOwner::default(), self.settings.timers);
        let tag = (self.settings.tokens)();
        self.respond(key, response.with_to_tag(&tag), now);
        self.phones_changed();
    }

    fn registered(
        &mut self,
        user: &str,
        request: &Request,
        checked: &Checked,
        source: Hop,
        now: Instant,
    ) -> Result<Response, Refusal> {
        let named = checked.to.uri.sip().and_then(|uri| uri.user.as_deref()).map(unescape);
        if named.as_deref() != Some(user) {
            return Err(Refusal { code: 403, reason: "Not Your Address Of Record", shortest: None });
        }
        let wanted = Registration::read(request, checked)?;
        self.phones.location.register(user, &wanted, source, now)?;
        let mut response = Response::to(request, 200).with("Supported", UNDERSTOOD.join(", "));
        for binding in self.phones.location.of(user, now) {
            response.fields.push("Contact", binding.listed(now));
        }
        for path in wanted.path {
            response.fields.push("Path", path);
        }
        if wanted.outbound {
            response.fields.push("Require", "outbound");
            response.fields.push("Flow-Timer", FLOW_TIMER.as_secs().to_string());
        }
        if let Some(date) = &self.phones.date {
            response.fields.push("Date", date());
        }
        Ok(response)
    }

    /// Ends what is over and probes whom it is time to probe.
    pub(super) fn mind_phones(&mut self, now: Instant) {
        for binding in self.phones.location.due_probes(now) {
            if let Some(errand) = self.probe(&binding) {
                self.run_errand(errand, now);
            }
        }
        self.phones_changed();
    }

    pub(super) fn probed(&mut self, binding: BindingId, outcome: Probed, now: Instant) {
        self.phones.location.probed(binding, outcome, now);
        self.phones_changed();
    }

    fn phones_changed(&mut self) {
        self.schedule.at(self.phones.location.wake_at(), Wake::Phones);
        metrics::gauge!("trunkline_sip_registered_contacts").set(self.phones.location.len() as f64);
    }

    fn probe(&mut self, binding: &Binding) -> Option<Errand> {
        let local = self.local_end(binding.hop, "");
        let mut request = request_to(binding, rsip::Method::Options);
        let (tag, call_id) = ((self.settings.tokens)(), (self.settings.tokens)());
        request.fields.push("From", format!("<sip:{}>;tag={tag}", local.sent_by));
        request.fields.push("To", format!("<{}>", binding.contact));
        request.fields.push("Call-ID", call_id);
        request.fields.push("CSeq", "1 OPTIONS");
        request.fields.push("Contact", local.contact.clone());
        request.fields.push("Accept", "application/sdp");
        request.fields.push("User-Agent", local.user_agent.clone());
        Errand::new(Purpose::Probe(binding.id), request, [binding.hop].into())
    }
}

/// Request-URI, Route and Max-Forwards of a request to a registered phone (RFC 3327 §5.3).
pub(super) fn request_to(binding: &Binding, method: rsip::Method) -> Request {
    let mut request = Request::new(method.into(), Uri::Sip(binding.contact.clone()));
    for route in &binding.path {
        request.fields.push("Route", route.clone());
    }
    request.fields.push("Max-Forwards", "70");
    request
}

fn refused(request: &Request, refusal: &Refusal) -> Response {
    let mut response = Response::to(request, refusal.code);
    response.reason = refusal.reason.to_owned();
    if let Some(shortest) = refusal.shortest {
        response.fields.push("Min-Expires", shortest.as_secs().to_string());
    }
    response
}
