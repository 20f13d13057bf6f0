//! Text messages (RFC 3428): from trunks that carry them and from extensions, to both.

use std::time::{Duration, Instant};

use super::errand::{Errand, Purpose};
use super::invite::RETRY_AFTER;
use super::register::request_to;
use super::{MAX_ANSWERING, Origin, Output, ServerOwner, UserAgent, number_on};
use crate::sip::dialog::call::ALLOW;
use crate::sip::digest::client::Authentication;
use crate::sip::message::uri::escape_user;
use crate::sip::message::{Checked, Request, Response, Uri};
use crate::sip::pager::{self, Content};
use crate::sip::transaction::ServerKey;
use crate::sip::transport::Hop;
use crate::sip::trunk::places::Choice;

/// Names a text of ours that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageKey(pub u64);

/// A text that came in; it waits for [`UserAgent::answer_message`] under `key`.
#[derive(Debug, Clone)]
pub struct ReceivedMessage {
    pub key: ServerKey,
    pub origin: Origin,
    pub from: String,
    pub from_name: Option<String>,
    /// User part of the Request-URI, or of To where that has none.
    pub to: String,
    pub content: Content,
    /// Call-ID, CSeq number and From tag: the same for the same text, however often it is sent.
    pub identity: (String, u32, String),
    /// In-Reply-To, where a report may name what it is about.
    pub in_reply_to: Option<String>,
}

/// A text to be sent.
#[derive(Debug, Clone)]
pub struct MessageOrder {
    pub route: MessageRoute,
    /// User part of From; that of the trunk's calls when absent.
    pub from: Option<String>,
    /// The same at every try, so that a peer that heard an earlier one knows it again.
    pub call_id: String,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageRoute {
    /// Through the trunk of that name, to a number.
    Trunk { name: String, number: String },
    /// To the phone of an extension that registered last.
    Extension(String),
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageOutcome {
    /// 2xx.
    Accepted(u16),
    Refused {
        code: u16,
        reason: String,
        retry_after: Option<Duration>,
    },
    /// Timer F: it may have arrived all the same.
    Silent,
    Unreachable(String),
    Unauthorized,
}

/// Texts and probes of ours under way at once.
const MAX_ERRANDS: usize = 4_096;

impl MessageOutcome {
    pub(super) fn of(response: &Response) -> MessageOutcome {
        match response.code() {
            code @ 200..=299 => MessageOutcome::Accepted(code),
            code => {
                let (reason, retry_after) = (response.reason.clone(), response.retry_after());
                MessageOutcome::Refused { code, reason, retry_after }
            }
        }
    }
}

impl UserAgent {
    pub(super) fn on_message(
        &mut self,
        request: &Request,
        checked: &Checked,
        key: &ServerKey,
        source: Hop,
        now: Instant,
    ) {
        let origin = match self.admit(request, source, now) {
            Ok(origin) => origin,
            Err(refusal) => return self.send_stateless(*refusal, source, now),
        };
        if matches!(&origin, Origin::Trunk(name) if !self.phones.texting.contains(name)) {
            return self.send_stateless(Response::to(request, 405).with("Allow", ALLOW), source, now);
        }
        let content = match pager::read(&request.fields, &request.body) {
            Ok(content) => content,
            Err(unreadable) => {
                let mut refusal = Response::to(request, unreadable.code);
                unreadable.reason.clone_into(&mut refusal.reason);
                if unreadable.code == 415 {
                    refusal = refusal.with("Accept", pager::ACCEPT).with("Accept-Encoding", "identity");
                }
                return self.send_stateless(refusal, source, now);
            }
        };
        if self.servers.len() >= MAX_ANSWERING {
            return self.send_stateless(Response::to(request, 503).with("Retry-After", RETRY_AFTER), source, now);
        }
        let reply_to = checked.via.reply_to(source);
        self.servers.start(key.clone(), false, reply_to, ServerOwner::default(), self.settings.timers);
        let tag = (self.settings.tokens)();
        self.phones.unanswered.insert(key.clone(), Response::to(request, 200).with_to_tag(&tag));
        let (from, from_name) = self.caller(request, checked, &origin);
        self.out.push(Output::Message(Box::new(ReceivedMessage {
            key: key.clone(),
            origin,
            from,
            from_name,
            to: Some(request.uri.number()).filter(|to| !to.is_empty()).unwrap_or_else(|| checked.to.uri.number()),
            content,
            identity: (checked.call_id.clone(), checked.cseq.number, checked.from_tag().to_owned()),
            in_reply_to: request.fields.list("In-Reply-To").into_iter().next(),
        })));
    }

    /// The final answer to a text that came in; `retry_after` goes with a 503.
    pub fn answer_message(&mut self, key: &ServerKey, code: u16, retry_after: Option<Duration>, now: Instant) {
        let Some(accepted) = self.phones.unanswered.remove(key) else { return };
        let mut response = Response::from_fields(&accepted.fields, code);
        if let Some(pause) = retry_after {
            response.fields.push("Retry-After", pause.as_secs().max(1).to_string());
        }
        self.respond(key, response, now);
    }

    /// Sends a text; its fate comes as [`Output::MessageDone`] under `key`.
    pub fn send_message(&mut self, key: MessageKey, order: &MessageOrder, now: Instant) {
        if self.errands_under_way() >= MAX_ERRANDS {
            let retry_after = Some(Duration::from_secs(5));
            return self.text_done(key, MessageOutcome::Refused { code: 503, reason: "Busy Here".into(), retry_after });
        }
        let errand = match &order.route {
            MessageRoute::Trunk { name, number } => self.text_to_trunk(key, order, name, number, now),
            MessageRoute::Extension(user) => self.text_to_phone(key, order, user, now),
        };
        match errand {
            Ok(errand) => self.run_errand(errand, now),
            Err(outcome) => self.text_done(key, outcome),
        }
    }

    fn text_to_trunk(
        &mut self,
        key: MessageKey,
        order: &MessageOrder,
        trunk: &str,
        number: &str,
        now: Instant,
    ) -> Result<Errand, MessageOutcome> {
        let unreachable = |problem: &str| MessageOutcome::Unreachable(problem.to_owned());
        let random = self.random();
        let trunk = self.trunks.find(trunk).ok_or_else(|| unreachable("there is no such trunk"))?;
        let target = number_on(trunk, number).ok_or_else(|| unreachable("the number cannot stand in a SIP URI"))?;
        let servers = match trunk.choice(now, &mut || random) {
            Choice::Servers(servers) => servers,
            Choice::Resting(pause) => {
                let retry_after = Some(Duration::from_secs(pause.as_secs() + 1));
                return Err(MessageOutcome::Refused { code: 503, reason: "Service Unavailable".into(), retry_after });
            }
            Choice::Unknown => return Err(unreachable("the trunk's host has no address")),
        };
        let servers = servers.iter().map(|server| trunk.hop(server.transport, server.address)).collect();
        let from = order.from.as_deref().or(trunk.caller.as_deref()).unwrap_or("anonymous");
        let from = format!("sip:{}@{}", escape_user(&trunk.numbers.caller_out(from)), trunk.host);
        let auth = Authentication::new(trunk.credentials.clone());
        let mut request = Request::new(rsip::Method::Message.into(), Uri::Sip(target));
        for route in trunk.routes() {
            request.fields.push("Route", route);
        }
        request.fields.push("Max-Forwards", "70");
        let request = self.text(request, &from, order);
        let errand = Errand::new(Purpose::Text(key), request, servers);
        errand.map(|errand| errand.signed_by(auth)).ok_or_else(|| unreachable("the trunk's host has no address"))
    }

    fn text_to_phone(
        &mut self,
        key: MessageKey,
        order: &MessageOrder,
        user: &str,
        now: Instant,
    ) -> Result<Errand, MessageOutcome> {
        let groups = self.phones.location.targets(user, now);
        let Some(binding) = groups.into_iter().flatten().next() else {
            let reason = "Not Registered".into();
            return Err(MessageOutcome::Refused { code: 480, reason, retry_after: None });
        };
        let host = self.local_end(binding.hop, "").sent_by;
        let from = match &order.from {
            Some(from) => format!("sip:{}@{host}", escape_user(from)),
            None => format!("sip:{host}"),
        };
        let request = self.text(request_to(&binding, rsip::Method::Message), &from, order);
        let errand = Errand::new(Purpose::Text(key), request, [binding.hop].into());
        errand.ok_or_else(|| MessageOutcome::Unreachable("the phone has no address".into()))
    }

    fn text(&self, mut request: Request, from: &str, order: &MessageOrder) -> Request {
        let tag = order.call_id.get(..16).unwrap_or(&order.call_id);
        request.fields.push("From", format!("<{from}>;tag={tag}"));
        request.fields.push("To", format!("<{}>", request.uri));
        request.fields.push("Call-ID", order.call_id.clone());
        request.fields.push("CSeq", "1 MESSAGE");
        request.fields.push("User-Agent", self.settings.user_agent.clone());
        request.with_body("text/plain;charset=UTF-8", order.text.clone())
    }

    pub(super) fn text_done(&mut self, key: MessageKey, outcome: MessageOutcome) {
        self.out.push(Output::MessageDone { key, outcome });
    }
}
