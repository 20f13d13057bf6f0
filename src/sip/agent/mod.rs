//! The user agent: owns every transaction and call of one endpoint and brings messages to them. Still without I/O:
//! datagrams, commands and instants go in, [`Output`]s come out.

mod dial;
mod errand;
mod gate;
mod invite;
pub mod message;
mod phones;
mod refer;
mod register;
mod request;
mod ring;
mod schedule;
mod trunk_ask;
mod trunk_call;
mod way;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::dialog::timer::Terms;
use super::dialog::{Act, Call, LocalEnd, Purpose, Step};
use super::digest::server::Authority;
use super::event::{CallEvent, CallFailure, Command, EndedBy, OfferOutcome};
use super::guard::Guard;
use super::message::{Fields, Limits, Message, Provenance, Request, Response, Unreadable, Via, read};
use super::resolve::{Families, Wanted};
use super::sdp::SessionDescription;
use super::trace::Trace;
use super::transaction::table::{AckBuilder, Clients, Servers};
use super::transaction::{ClientKey, ClientOutput, ServerKey, ServerOutput, Timers};
use super::transport::{Hop, Ports, Transport, TrunkId};
use super::trunk::Trunks;
use super::trunk::status::TrunkStatus;

pub use dial::{DialOrder, dialable, number_on};
use errand::Errand;
pub use message::{MessageKey, MessageOrder, MessageOutcome, MessageRoute, ReceivedMessage};
pub use phones::PhoneSettings;
pub use refer::Referred;
pub use ring::RingOrder;
use schedule::{Schedule, Wake};
pub use way::MOST_OVER_UDP;
use way::Ways;

/// Names a call towards the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

#[derive(Debug)]
pub enum Output {
    /// `transaction` is to be told when the socket refuses.
    Transmit {
        to: Hop,
        datagram: Bytes,
        transaction: Option<ClientKey>,
    },
    /// Ask DNS, then call [`UserAgent::resolved`].
    Resolve {
        call: CallKey,
        wanted: Wanted,
    },
    /// A trunk is not as it was.
    Trunk(TrunkStatus),
    Incoming(Box<Incoming>),
    Event {
        call: CallKey,
        event: CallEvent,
    },
    OfferDone {
        call: CallKey,
        outcome: OfferOutcome,
    },
    /// A text came in; to be answered with [`UserAgent::answer_message`].
    Message(Box<ReceivedMessage>),
    MessageDone {
        key: MessageKey,
        outcome: MessageOutcome,
    },
}

/// An INVITE that passed the guard.
#[derive(Debug)]
pub struct Incoming {
    pub call: CallKey,
    pub call_id: String,
    pub called: String,
    pub caller: String,
    pub caller_name: Option<String>,
    pub origin: Origin,
    pub offer: Option<SessionDescription>,
    /// What the trunk says of the way that the call took; empty for extensions.
    pub provenance: Provenance,
    /// Our address towards the caller.
    pub local: IpAddr,
    /// The call whose place it takes (RFC 3891).
    pub replaces: Option<CallKey>,
    /// It came over TLS.
    pub secure: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Name of the trunk that the source address belongs to.
    Trunk(String),
    /// User of the extension that answered our digest challenge.
    Extension(String),
}

impl Origin {
    /// The user, when it is an extension.
    pub fn extension(&self) -> Option<String> {
        match self {
            Origin::Extension(user) => Some(user.clone()),
            Origin::Trunk(_) => None,
        }
    }
}

pub struct Settings {
    pub user_agent: String,
    pub timers: Timers,
    pub limits: Limits,
    pub max_dialogs_per_source: usize,
    pub session_timer: Terms,
    /// Those of Via and Contact.
    pub ports: Ports,
    /// Our address towards a peer, as the peer should see it.
    pub local_address: Box<dyn Fn(IpAddr) -> IpAddr + Send>,
    /// Fresh unguessable tokens, hex.
    pub tokens: Box<dyn FnMut() -> String + Send>,
    /// Allots [`CallKey`]s; shared with whoever places calls.
    pub call_keys: Box<dyn FnMut() -> CallKey + Send>,
}

pub struct UserAgent {
    settings: Settings,
    trunks: Trunks,
    authority: Authority,
    guard: Guard,
    clients: Clients<ClientOwner>,
    servers: Servers<ServerOwner>,
    calls: HashMap<CallKey, Entry>,
    /// By Call-ID and local tag.
    dialogs: HashMap<(String, String), CallKey>,
    /// Call-ID, From tag and CSeq of INVITEs being answered, to know a merged one (RFC 3261 §8.2.2.2).
    merged: HashMap<String, ServerKey>,
    /// Calls that wait for DNS.
    unresolved: HashMap<CallKey, DialOrder>,
    /// What our sockets reach.
    families: Families,
    /// Requests of ours outside of calls.
    errands: Clients<Errand>,
    /// How each trunk was said to be.
    told: HashMap<TrunkId, TrunkStatus>,
    /// Begins the Call-ID of every REGISTER between two starts (RFC 3261 §10.2).
    boot: String,
    /// Registrations are given back.
    leaving: bool,
    phones: phones::Phones,
    schedule: Schedule,
    ways: Ways,
    refusing: bool,
    trace: Option<Trace>,
    out: Vec<Output>,
}

/// Calls, live or just over, that are held at once; beyond, new ones get 503. Over UDP a forged trunk address could
/// else fill the memory.
const MAX_CALLS: usize = 32_768;
/// Requests being answered, or answered within the last 32 s. Beyond, only BYE and CANCEL are taken, up to twice as many.
const MAX_ANSWERING: usize = 65_536;

/// Sizes of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    pub calls: usize,
    pub dialogs: usize,
    pub clients: usize,
    pub servers: usize,
    pub merged: usize,
}

impl Held {
    pub fn any(self) -> bool {
        self != Held::default()
    }
}

struct Entry {
    call: Call,
    /// The source whose place in the guard it holds.
    place: Option<IpAddr>,
    /// Who is on the other side.
    origin: Origin,
    /// Its INVITEs. One that got a 1xx and then nothing would outlive the call for ever (RFC 3261 §17.1.1.2).
    invites: Vec<ClientKey>,
}

struct ClientOwner {
    call: CallKey,
    purpose: Purpose,
    request: Arc<Request>,
}

#[derive(Default)]
struct ServerOwner {
    call: Option<CallKey>,
    merge: Option<String>,
}

impl UserAgent {
    pub fn new(mut settings: Settings, trunks: Trunks, authority: Authority) -> UserAgent {
        let guard = Guard::new(settings.max_dialogs_per_source);
        UserAgent {
            boot: (settings.tokens)(),
            settings,
            trunks,
            authority,
            guard,
            clients: Clients::new(),
            servers: Servers::new(),
            calls: HashMap::new(),
            dialogs: HashMap::new(),
            merged: HashMap::new(),
            unresolved: HashMap::new(),
            families: Families { v4: true, v6: true },
            errands: Clients::new(),
            told: HashMap::new(),
            leaving: false,
            phones: phones::Phones::default(),
            schedule: Schedule::default(),
            ways: Ways::default(),
            refusing: false,
            trace: None,
            out: Vec::new(),
        }
    }

    /// What is to be done since the last time.
    pub fn outputs(&mut self) -> Vec<Output> {
        self.trace_outputs();
        std::mem::take(&mut self.out)
    }

    /// What the guard let in.
    fn admitted(&mut self, datagram: &[u8], source: Hop, now: Instant) {
        match read(datagram, &self.settings.limits) {
            Ok(Message::Request(request)) => {
                metrics::counter!("trunkline_sip_messages_received_total", "kind" => "request").increment(1);
                self.on_request(request, source, now);
            }
            Ok(Message::Response(response)) => {
                metrics::counter!("trunkline_sip_messages_received_total", "kind" => "response").increment(1);
                self.on_response(&response, source, now);
            }
            Err(Unreadable::Noise(problem)) => {
                // Keep-alives are neither noise nor news.
                if problem != "empty" {
                    metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
                    tracing::debug!(%source, problem, "dropped a datagram that is no SIP message");
                }
            }
            Err(Unreadable::Request { status, problem, fields }) => {
                metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
                if !datagram.trim_ascii_start().starts_with(b"ACK ") {
                    self.refuse_malformed(status, problem, fields, source, now);
                }
            }
        }
    }

    /// Answers a request that could not be read as far as its fields allow.
    fn refuse_malformed(&mut self, status: u16, problem: &str, mut fields: Fields, source: Hop, now: Instant) {
        if stamp(&mut fields, source).is_none() {
            tracing::debug!(%source, problem, "dropped a malformed request that names no way back");
            return;
        }
        let mut response = Response::from_fields(&fields, status);
        response.reason = problem.to_owned();
        self.send_stateless(response, source, now);
    }

    /// Sends a response outside any transaction; strangers get only so many.
    fn send_stateless(&mut self, mut response: Response, source: Hop, now: Instant) {
        if self.is_unheard(source, now) {
            metrics::counter!("trunkline_sip_answers_withheld_total").increment(1);
            return;
        }
        let Some(via) = response.fields.list("Via").first().and_then(|via| Via::parse(via).ok()) else { return };
        if response.code() >= 300 {
            metrics::counter!("trunkline_sip_requests_refused_total", "code" => response.code().to_string())
                .increment(1);
        }
        // The same for a repeated request, as RFC 3261 §8.2.7 demands of stateless servers.
        let tag = stateless_tag(&response.fields);
        response = response.with_to_tag(&tag);
        response.fields.push("Server", self.settings.user_agent.clone());
        if let Ok(datagram) = response.write() {
            self.out.push(Output::Transmit { to: via.reply_to(source), datagram, transaction: None });
        }
    }

    fn on_response(&mut self, response: &Response, source: Hop, now: Instant) {
        // A response with two Via values went astray on its way to someone else (RFC 3261 §8.1.3.3).
        if response.fields.list("Via").len() != 1 {
            metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
            return;
        }
        let Some(key) = ClientKey::of_response(response) else { return };
        if self.on_errand_response(&key, response, source, now) {
            return;
        }
        let Some(client) = self.clients.find(&key) else { return };
        // What was asked over TLS is not answered in plain text.
        if client.to.transport == Transport::Tls && source.transport != Transport::Tls {
            return;
        }
        let address = client.to.address;
        let (call, purpose, request) = (client.owner.call, client.owner.purpose, client.owner.request.clone());
        self.guard.vouch(source.ip(), now);
        let outputs = self.clients.response(&key, response, now);
        let deliver = outputs.contains(&ClientOutput::Deliver);
        self.client_outputs(&key, outputs, now);
        if deliver {
            self.note_answer(address, response, now);
            self.with_call(call, now, |call, step| call.response(purpose, &request, response, source, step));
        }
    }

    /// Sends what the machine wants sent and reports its failure.
    fn client_outputs(&mut self, key: &ClientKey, outputs: Vec<ClientOutput>, now: Instant) {
        let Some(client) = self.clients.find(key) else { return };
        let (to, call, purpose) = (client.to, client.owner.call, client.owner.purpose);
        let problem = client.problem.unwrap_or("the network refused the packet");
        let request = client.owner.request.clone();
        for output in outputs {
            let failure = match output {
                ClientOutput::Send(datagram) => {
                    self.out.push(Output::Transmit { to, datagram, transaction: Some(key.clone()) });
                    continue;
                }
                ClientOutput::Deliver => continue,
                ClientOutput::TimedOut => CallFailure::TrunkSilent,
                ClientOutput::Failed => CallFailure::Unreachable(problem.into()),
            };
            self.with_call(call, now, |call, step| call.failed(purpose, &request, failure, step));
        }
        self.schedule.at(self.clients.wake_at(key), Wake::Client(key.clone()));
        self.clients.reap(key);
    }

    fn server_outputs(&mut self, key: &ServerKey, outputs: Vec<ServerOutput>) {
        let Some(server) = self.servers.find(key) else { return };
        let to = server.to;
        for output in outputs {
            match output {
                ServerOutput::Send(datagram) => self.out.push(Output::Transmit { to, datagram, transaction: None }),
                // The refusal stands whether or not the peer heard it.
                ServerOutput::NoAck => tracing::debug!(%to, "a refused INVITE was never acknowledged"),
            }
        }
        self.schedule.at(self.servers.wake_at(key), Wake::Server(key.clone()));
        let owner = self.servers.reap(key);
        self.unmerge(owner);
    }

    /// Nobody will answer it: held on, it would never go.
    fn drop_server(&mut self, key: &ServerKey) {
        let owner = self.servers.forget(key);
        self.schedule.at(None, Wake::Server(key.clone()));
        self.unmerge(owner);
    }

    fn unmerge(&mut self, owner: Option<ServerOwner>) {
        if let Some(ServerOwner { merge: Some(merge), .. }) = owner {
            self.merged.remove(&merge);
        }
    }

    fn respond(&mut self, key: &ServerKey, mut response: Response, now: Instant) {
        response.fields.set("Server", self.settings.user_agent.clone());
        let code = response.code();
        if code >= 300 {
            metrics::counter!("trunkline_sip_requests_refused_total", "code" => code.to_string()).increment(1);
        }
        match response.write() {
            Ok(datagram) => {
                let outputs = self.servers.respond(key, code, datagram, now);
                self.server_outputs(key, outputs);
            }
            Err(problem) => {
                tracing::warn!(%problem, code, "a response was not sent");
                if code >= 200 {
                    self.drop_server(key);
                }
            }
        }
    }

    /// Lets a call act and carries out what it wants.
    fn with_call(&mut self, key: CallKey, now: Instant, act: impl FnOnce(&mut Call, &mut Step<'_>)) {
        let mut acts = Vec::new();
        let Some(entry) = self.calls.get_mut(&key) else { return };
        let tokens = &mut *self.settings.tokens;
        act(&mut entry.call, &mut Step { now, timers: self.settings.timers, tokens, out: &mut acts });
        self.carry_out(key, acts, now);
        self.settle(key, now);
    }

    fn carry_out(&mut self, key: CallKey, acts: Vec<Act>, now: Instant) {
        for act in acts {
            match act {
                Act::Send { request, to, purpose } => self.send(key, &request, to, purpose, now),
                Act::Ack { request, to } => {
                    if let Ok(datagram) = self.carried_by(&request, to.transport).write() {
                        self.out.push(Output::bare(to, datagram));
                    }
                }
                Act::Respond { key, response } => self.respond(&key, response, now),
                Act::Event(event) => self.tell(key, event, now),
                Act::OfferDone(outcome) => self.out.push(Output::OfferDone { call: self.known_as(key), outcome }),
                Act::Expire(transaction) => {
                    self.clients.cancelled(&transaction, now);
                    self.schedule.at(self.clients.wake_at(&transaction), Wake::Client(transaction));
                }
                Act::Silent(hop) => self.trunks.silent(hop.address, now),
            }
        }
    }

    /// After every step: gives back the guard's place of a call that is over, and notes when to wake it.
    fn settle(&mut self, key: CallKey, now: Instant) {
        let Some(entry) = self.calls.get_mut(&key) else { return };
        if entry.call.is_over()
            && let Some(source) = entry.place.take()
        {
            self.guard.leave(source);
        }
        if entry.call.is_gone(now) {
            let name = (entry.call.call_id.clone(), entry.call.local_tag.clone());
            self.dialogs.remove(&name);
            self.phones.branches.remove(&key);
            let invites = self.calls.remove(&key).map(|entry| entry.invites).unwrap_or_default();
            for invite in invites {
                self.clients.forget(&invite);
                self.schedule.at(None, Wake::Client(invite));
            }
            self.schedule.at(None, Wake::Call(key));
        } else {
            self.schedule.at(entry.call.wake_at(), Wake::Call(key));
        }
    }

    pub fn command(&mut self, call: CallKey, command: Command, now: Instant) {
        let Some(call) = self.aimed(call, &command, now) else { return };
        if self.unresolved.contains_key(&call) {
            if command == Command::HangUp {
                self.unresolved.remove(&call);
                self.out.push(Output::Event { call, event: CallEvent::Ended { by: EndedBy::Us } });
            }
            if matches!(command, Command::Offer(_)) {
                self.out.push(Output::OfferDone { call, outcome: OfferOutcome::Refused(0) });
            }
            return;
        }
        if !self.calls.contains_key(&call) && matches!(command, Command::Offer(_)) {
            self.out.push(Output::OfferDone { call, outcome: OfferOutcome::Refused(0) });
        }
        self.with_call(call, now, |call, step| call.command(command, step));
    }

    pub fn refuse_new_calls(&mut self) {
        self.refusing = true;
    }

    /// Ends every call in the way that its state owes.
    pub fn hang_up_all(&mut self, now: Instant) {
        let waiting: Vec<CallKey> =
            self.phones.ringing.keys().chain(self.unresolved.keys()).chain(self.calls.keys()).copied().collect();
        for call in waiting {
            self.command(call, Command::HangUp, now);
        }
    }

    /// What is kept at the moment, including what is over and waits for late messages.
    pub fn held(&self) -> Held {
        Held {
            calls: self.calls.len() + self.unresolved.len(),
            dialogs: self.dialogs.len(),
            clients: self.clients.len(),
            servers: self.servers.len(),
            merged: self.merged.len(),
        }
    }

    /// Nothing is live and nobody owes us a final response.
    pub fn is_quiet(&self) -> bool {
        self.calls.values().all(|entry| entry.call.is_over() && !entry.call.owes_bye())
            && self.unresolved.is_empty()
            && !self.clients.any_awaits_final()
            && self.has_left_trunks()
    }

    pub fn next_wake(&self) -> Option<Instant> {
        self.schedule.next()
    }

    pub fn tick(&mut self, now: Instant) {
        while let Some(wake) = self.schedule.due(now) {
            match wake {
                Wake::Client(key) if self.clients.wake_at(&key).is_some_and(|at| at <= now) => {
                    let outputs = self.clients.tick(&key, now);
                    self.client_outputs(&key, outputs, now);
                }
                Wake::Server(key) if self.servers.wake_at(&key).is_some_and(|at| at <= now) => {
                    let outputs = self.servers.tick(&key, now);
                    self.server_outputs(&key, outputs);
                }
                Wake::Call(key) if self.call_is_due(key, now) => self.with_call(key, now, Call::tick),
                Wake::Trunk(id) => self.tick_trunk(id, now),
                Wake::Errand(key) => self.tick_errand(&key, now),
                Wake::Phones => self.mind_phones(now),
                // Whoever is gone, or wants nothing any more.
                Wake::Client(_) | Wake::Server(_) | Wake::Call(_) => {}
            }
        }
    }

    fn call_is_due(&self, key: CallKey, now: Instant) -> bool {
        self.calls.get(&key).and_then(|entry| entry.call.wake_at()).is_some_and(|at| at <= now)
    }

    /// How we name ourselves towards `peer`.
    fn local_end(&self, peer: Hop, user: &str) -> LocalEnd {
        let host = super::message::Host::Ip((self.settings.local_address)(peer.ip()));
        let transport = peer.transport;
        let sent_by = format!("{host}:{}", self.settings.ports.of(transport));
        let user = super::message::uri::escape_user(user);
        let at = if user.is_empty() { "" } else { "@" };
        let how = if transport == Transport::Udp { String::new() } else { format!(";transport={}", transport.name()) };
        let contact = format!("<sip:{user}{at}{sent_by}{how}>");
        LocalEnd { transport, sent_by, contact, user_agent: self.settings.user_agent.clone() }
    }
}

/// Notes the source in the top Via (RFC 3261 §18.2.1). `None` when not even its sent-by can be read; `Some(false)` when
/// only that could be, which is enough for sending a refusal.
fn stamp(fields: &mut Fields, source: Hop) -> Option<bool> {
    let line = fields.first("Via")?.to_owned();
    let mut vias = fields.list("Via").into_iter();
    let top = vias.next()?;
    let (mut top, sound) = match Via::parse(&top) {
        Ok(via) => (via, true),
        Err(_) => (Via::parse(line.split([';', ',']).next()?).ok()?, false),
    };
    top.stamp(source.address);
    let rest: Vec<String> = vias.collect();
    fields.set("Via", top.to_string());
    for via in rest.into_iter().filter(|_| sound) {
        fields.push("Via", via);
    }
    Some(sound)
}

/// A tag that is the same for every repetition of a request.
fn stateless_tag(fields: &Fields) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for name in ["Call-ID", "From", "CSeq"] {
        fields.first(name).hash(&mut hasher);
    }
    format!("s{:016x}", hasher.finish())
}

/// The ACK of a refusal belongs to the transaction (RFC 3261 §17.1.1.3).
fn ack_builder(invite: Arc<Request>) -> AckBuilder {
    Box::new(move |response: &Response| {
        let mut ack = Request::new(rsip::Method::Ack.into(), invite.uri.clone());
        if let Some(via) = invite.fields.list("Via").first() {
            ack.fields.push("Via", via.clone());
        }
        for name in ["Route", "From", "Call-ID"] {
            for value in invite.fields.all(name) {
                ack.fields.push(name, value);
            }
        }
        ack.fields.push("To", response.fields.first("To").unwrap_or_default());
        let number = invite.fields.first("CSeq").and_then(|cseq| cseq.split(' ').next()).unwrap_or("1");
        ack.fields.push("CSeq", format!("{number} ACK"));
        ack.fields.push("Max-Forwards", "70");
        ack.write().unwrap_or_default()
    })
}
