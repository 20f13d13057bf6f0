//! What trunks are asked outside of calls: REGISTER and OPTIONS, each in a transaction of its own.
//!
//! The machines of [`crate::sip::trunk`] decide; here requests are written, servers chosen, and outcomes brought back.

use std::time::{Duration, Instant};

use super::schedule::Wake;
use super::{Output, UserAgent};
use crate::sip::dialog::call::ALLOW;
use crate::sip::message::uri::escape_user;
use crate::sip::message::{Request, Response, SipUri, Uri};
use crate::sip::resolve::{Families, Server, Site, Wanted};
use crate::sip::transaction::{ClientKey, ClientOutput};
use crate::sip::transport::{Hop, Transport, TrunkId};
use crate::sip::trunk::Trunk;
use crate::sip::trunk::health::Health;
use crate::sip::trunk::places::Choice;
use crate::sip::trunk::registration::{Register, Registration, Surroundings};

/// A REGISTER or OPTIONS under way.
pub(super) struct Asked {
    trunk: TrunkId,
    what: What,
    /// Request-URI, for an answer to a challenge.
    uri: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Register,
    Options,
}

/// How often our own address is compared with the one that was registered.
const LOOK_AROUND: Duration = Duration::from_secs(15);

impl UserAgent {
    /// From now on trunks register and are asked whether they live, at addresses of these families.
    pub fn begin_trunks(&mut self, families: Families, now: Instant) {
        self.families = families;
        self.trunks.begin(now);
        let ids: Vec<TrunkId> = self.trunks.iter().map(|trunk| trunk.id).collect();
        for id in ids {
            self.note_trunk(id, now);
        }
    }

    /// The hosts of trunks that are to be kept located: trunk, place in it, and what to look for.
    pub fn wanted(&self) -> Vec<(TrunkId, usize, Wanted)> {
        self.trunks.wanted(self.families)
    }

    /// Where a host of a trunk is, or why nobody knows.
    pub fn trunk_located(&mut self, id: TrunkId, place: usize, found: Result<Vec<Site>, String>, now: Instant) {
        match found {
            Ok(sites) => self.trunks.located(id, place, sites),
            Err(problem) => {
                if let Some(trunk) = self.trunks.by_id_mut(id) {
                    trunk.trouble = Some(problem);
                }
            }
        }
        self.note_trunk(id, now);
    }

    /// Gives back every registration; asks nothing any more.
    pub fn leave_trunks(&mut self, now: Instant) {
        self.leaving = true;
        let ids: Vec<TrunkId> = self.trunks.iter().map(|trunk| trunk.id).collect();
        for id in ids {
            let Some(trunk) = self.trunks.by_id_mut(id) else { continue };
            trunk.health.iter_mut().for_each(Health::end);
            let wish = trunk.registration.as_mut().and_then(|registration| registration.leave(now));
            self.register(id, wish, true, now);
            self.note_trunk(id, now);
        }
    }

    /// Every registration is given back, or was never wanted back.
    pub(super) fn has_left_trunks(&self) -> bool {
        let gone = |trunk: &Trunk| trunk.registration.as_ref().is_none_or(Registration::is_gone);
        !self.leaving || self.trunks.iter().all(gone)
    }

    /// A trunk's time has come.
    pub(super) fn tick_trunk(&mut self, id: TrunkId, now: Instant) {
        let moved = self.has_moved(id, now);
        let Some(trunk) = self.trunks.by_id_mut(id) else { return };
        let wish = trunk.registration.as_mut().and_then(|registration| match registration.tick(now) {
            None if moved => registration.moved(),
            wish => wish,
        });
        let ask = trunk.health.as_mut().is_some_and(|health| health.tick(now));
        self.register(id, wish, true, now);
        if ask {
            self.options_round(id, now);
        }
        self.note_trunk(id, now);
    }

    /// The address that we registered is not ours any more.
    fn has_moved(&self, id: TrunkId, now: Instant) -> bool {
        let Some(trunk) = self.trunks.by_id(id) else { return false };
        let Choice::Servers(servers) = trunk.choice(now, &mut || 0) else { return false };
        let ours = servers.first().map(|server| (self.settings.local_address)(server.address.ip()));
        trunk.registers > 0 && ours.is_some_and(|ours| !ours.is_unspecified() && trunk.contact.host.ip() != Some(ours))
    }

    /// Sends a REGISTER to the first server of a new round, or to the next of this one.
    fn register(&mut self, id: TrunkId, wish: Option<Register>, new_round: bool, now: Instant) {
        let Some(wish) = wish else { return };
        if new_round {
            let servers = self.servers(id, now);
            if let Some(trunk) = self.trunks.by_id_mut(id) {
                trunk.register_round = servers.into();
            }
        }
        let server = self.trunks.by_id(id).and_then(|trunk| trunk.register_round.front().copied());
        let Some(server) = server else {
            return self.registration_heard(id, "", now, |registration, around| {
                registration.unanswered("no server of the trunk takes requests now", around)
            });
        };
        let (hop, user) = match self.trunks.by_id(id) {
            Some(trunk) => (trunk.hop(server.transport, server.address), trunk.account().to_owned()),
            None => return,
        };
        let local = self.local_end(hop, &user);
        let contact = contact_uri(&local.contact);
        let Some(trunk) = self.trunks.by_id_mut(id) else { return };
        trunk.registers = trunk.registers.saturating_add(1);
        if let Some(contact) = contact {
            trunk.contact = contact;
        }
        let domain = SipUri::new(None, trunk.host.clone(), trunk.explicit_port.then_some(trunk.port));
        let account = SipUri { user: Some(escape_user(&user)), ..domain.clone() };
        let target = Uri::Sip(domain);
        let mut request = Request::new(rsip::Method::Register.into(), target.clone());
        request.fields.push("Via", local.via(&(self.settings.tokens)()));
        if let Some(proxy) = &trunk.proxy {
            request.fields.push("Route", format!("<{proxy}>"));
        }
        request.fields.push("Max-Forwards", "70");
        request.fields.push("From", format!("<{account}>;tag={:x}", trunk.registers));
        request.fields.push("To", format!("<{account}>"));
        request.fields.push("Call-ID", format!("{}-{}", self.boot, trunk.id.0));
        request.fields.push("CSeq", format!("{} REGISTER", trunk.registers));
        request.fields.push("Contact", format!("{};expires={}", local.contact, wish.seconds));
        request.fields.push("Expires", wish.seconds.to_string());
        request.fields.push("Supported", "path");
        request.fields.push("Allow", ALLOW);
        request.fields.push("User-Agent", local.user_agent);
        if let Some((name, value)) = wish.authorization {
            request.fields.push(name, value);
        }
        metrics::counter!("trunkline_trunk_registers_total", "trunk" => trunk.name.clone()).increment(1);
        self.ask(Asked { trunk: id, what: What::Register, uri: target.to_string() }, &request, hop, now);
    }

    fn options_round(&mut self, id: TrunkId, now: Instant) {
        let servers = self.servers(id, now);
        if let Some(trunk) = self.trunks.by_id_mut(id) {
            trunk.options_round = servers.into();
        }
        self.ask_alive(id, now);
    }

    /// OPTIONS to the next server of this round.
    fn ask_alive(&mut self, id: TrunkId, now: Instant) {
        let Some(trunk) = self.trunks.by_id(id) else { return };
        let Some(server) = trunk.options_round.front().copied() else {
            return self.lived(id, Err("none of its servers answers OPTIONS"), now);
        };
        let hop = trunk.hop(server.transport, server.address);
        let local = self.local_end(hop, trunk.default_caller());
        let domain = SipUri::new(None, trunk.host.clone(), trunk.explicit_port.then_some(trunk.port));
        let target = Uri::Sip(domain);
        let mut request = Request::new(rsip::Method::Options.into(), target.clone());
        let (user, host) = (escape_user(trunk.default_caller()), trunk.host.clone());
        let at = if user.is_empty() { "" } else { "@" };
        let routes = trunk.routes();
        let tokens = &mut *self.settings.tokens;
        request.fields.push("Via", local.via(&tokens()));
        for route in routes {
            request.fields.push("Route", route);
        }
        request.fields.push("Max-Forwards", "70");
        request.fields.push("From", format!("<sip:{user}{at}{host}>;tag={}", tokens()));
        request.fields.push("To", format!("<{target}>"));
        request.fields.push("Call-ID", tokens());
        request.fields.push("CSeq", "1 OPTIONS");
        request.fields.push("Contact", local.contact);
        request.fields.push("Accept", "application/sdp");
        request.fields.push("User-Agent", local.user_agent);
        self.ask(Asked { trunk: id, what: What::Options, uri: target.to_string() }, &request, hop, now);
    }

    fn ask(&mut self, asked: Asked, request: &Request, to: Hop, now: Instant) {
        let Ok(datagram) = request.write() else {
            return self.unanswered(&asked, "the request cannot be written", now);
        };
        let key = ClientKey::of_request(request);
        let outputs = self.asks.start(key.clone(), datagram, to, asked, None, self.settings.timers, now);
        self.ask_outputs(&key, outputs, now);
    }

    /// Whether the response is one to a trunk's question; then it is dealt with.
    pub(super) fn ask_answered(&mut self, key: &ClientKey, response: &Response, source: Hop, now: Instant) -> bool {
        let Some(client) = self.asks.find(key) else { return false };
        // What was asked over TLS is not answered in plain text.
        if client.to.transport == Transport::Tls && source.transport != Transport::Tls {
            return true;
        }
        let address = client.to.address;
        let asked = Asked { uri: client.owner.uri.clone(), ..client.owner };
        let outputs = self.asks.response(key, response, now);
        let deliver = outputs.contains(&ClientOutput::Deliver) && response.code() >= 200;
        self.ask_outputs(key, outputs, now);
        if !deliver {
            return true;
        }
        self.note_answer(address, response, now);
        let id = asked.trunk;
        match asked.what {
            What::Options if Health::is_good(response.code()) => self.lived(id, Ok(()), now),
            What::Options => self.next_options(id, now),
            What::Register => {
                let failed = response.code() == 503;
                self.registration_heard_from(id, &asked.uri, failed, now, |registration, around| {
                    registration.answered(response, around)
                });
            }
        }
        true
    }

    pub(super) fn tick_ask(&mut self, key: &ClientKey, now: Instant) {
        let outputs = self.asks.tick(key, now);
        self.ask_outputs(key, outputs, now);
    }

    /// Whether the failed transaction is one of a trunk's questions; then it is dealt with.
    pub(super) fn ask_failed(&mut self, key: &ClientKey, problem: &'static str, now: Instant) -> bool {
        if self.asks.find(key).is_none() {
            return false;
        }
        let outputs = self.asks.transport_failed(key, problem, self.settings.timers, now);
        self.ask_outputs(key, outputs, now);
        true
    }

    /// A connection is gone: what was asked on it is asked once more on a new one, when it ever stood.
    pub(super) fn ask_line_lost(&mut self, line: u64, opened: bool, problem: &'static str, now: Instant) {
        for key in self.asks.unanswered_on(line) {
            let again = if opened { self.asks.again(&key) } else { Vec::new() };
            if again.is_empty() {
                self.ask_failed(&key, problem, now);
            } else {
                self.ask_outputs(&key, again, now);
            }
        }
    }

    fn ask_outputs(&mut self, key: &ClientKey, outputs: Vec<ClientOutput>, now: Instant) {
        let Some(client) = self.asks.find(key) else { return };
        let to = client.to;
        let mut failures = Vec::new();
        for output in outputs {
            match output {
                ClientOutput::Send(datagram) => {
                    self.out.push(Output::Transmit { to, datagram, transaction: Some(key.clone()) });
                }
                ClientOutput::Deliver => {}
                ClientOutput::TimedOut => failures.push("it does not answer"),
                ClientOutput::Failed => failures.push("it cannot be reached"),
            }
        }
        self.schedule.at(self.asks.wake_at(key), Wake::Ask(key.clone()));
        let over = self.asks.reap(key);
        if let (Some(problem), Some(asked)) = (failures.first(), over) {
            self.trunks.silent(to.address, now);
            self.unanswered(&asked, problem, now);
        }
    }

    fn unanswered(&mut self, asked: &Asked, problem: &'static str, now: Instant) {
        match asked.what {
            What::Options => self.next_options(asked.trunk, now),
            What::Register => {
                self.registration_heard_from(asked.trunk, &asked.uri, true, now, |registration, around| {
                    registration.unanswered(problem, around)
                })
            }
        }
    }

    fn next_options(&mut self, id: TrunkId, now: Instant) {
        if let Some(trunk) = self.trunks.by_id_mut(id) {
            trunk.options_round.pop_front();
        }
        self.ask_alive(id, now);
    }

    fn lived(&mut self, id: TrunkId, outcome: Result<(), &str>, now: Instant) {
        let Some(trunk) = self.trunks.by_id_mut(id) else { return };
        let Some(health) = &mut trunk.health else { return };
        if health.heard(outcome.is_ok(), now) {
            let (trunk, down) = (trunk.name.as_str(), health.is_down());
            if down {
                tracing::warn!(trunk, "the trunk is down: it does not answer OPTIONS");
            } else {
                tracing::info!(trunk, "the trunk is up again");
            }
        }
        if self.leaving {
            health.end();
        }
        trunk.trouble = outcome.err().map(str::to_owned);
        self.note_trunk(id, now);
    }

    /// `failed`: the server at hand is of no use now; the next of the round gets its try.
    fn registration_heard_from(
        &mut self,
        id: TrunkId,
        uri: &str,
        failed: bool,
        now: Instant,
        act: impl FnOnce(&mut Registration, &Surroundings<'_>) -> Option<Register>,
    ) {
        if failed && let Some(trunk) = self.trunks.by_id_mut(id) {
            trunk.register_round.pop_front();
        }
        self.registration_heard(id, uri, now, act);
    }

    fn registration_heard(
        &mut self,
        id: TrunkId,
        uri: &str,
        now: Instant,
        act: impl FnOnce(&mut Registration, &Surroundings<'_>) -> Option<Register>,
    ) {
        let (random, cnonce) = (self.random(), (self.settings.tokens)());
        let Some(trunk) = self.trunks.by_id_mut(id) else { return };
        let another = !trunk.register_round.is_empty();
        let (Some(registration), contact) = (&mut trunk.registration, &trunk.contact) else { return };
        let (stood, problem) = (registration.standing(now).is_some(), registration.problem().map(str::to_owned));
        let around = Surroundings { contact, uri, cnonce: &cnonce, another, random, now };
        let wish = act(registration, &around);
        let name = trunk.name.as_str();
        match (registration.standing(now).is_some(), registration.problem()) {
            (true, None) if !stood => tracing::info!(trunk = name, "registered with the trunk"),
            (_, Some(now_wrong)) if problem.as_deref() != Some(now_wrong) => {
                tracing::warn!(trunk = name, problem = now_wrong, "not registered with the trunk");
            }
            _ => {}
        }
        self.register(id, wish, false, now);
        self.note_trunk(id, now);
    }

    /// What an answer of a server says of the server itself.
    pub(super) fn note_answer(&mut self, address: std::net::SocketAddr, response: &Response, now: Instant) {
        match (response.code(), response.retry_after()) {
            (503, Some(pause)) => self.trunks.rests(address, pause, now),
            (503, None) => self.trunks.silent(address, now),
            _ => self.trunks.works(address),
        }
    }

    fn servers(&mut self, id: TrunkId, now: Instant) -> Vec<Server> {
        let tokens = &mut *self.settings.tokens;
        let Some(trunk) = self.trunks.by_id(id) else { return Vec::new() };
        match trunk.choice(now, &mut || random_of(&tokens())) {
            Choice::Servers(servers) => servers,
            Choice::Resting(_) | Choice::Unknown => Vec::new(),
        }
    }

    pub(super) fn random(&mut self) -> u64 {
        random_of(&(self.settings.tokens)())
    }

    /// Notes when to wake a trunk, and tells how it is when that changed.
    pub(super) fn note_trunk(&mut self, id: TrunkId, now: Instant) {
        let Some(trunk) = self.trunks.by_id(id) else { return };
        let standing = trunk.registration.as_ref().is_some_and(|registration| registration.standing(now).is_some());
        let look = (standing && !self.leaving).then(|| now + LOOK_AROUND);
        self.schedule.at(trunk.wake_at().into_iter().chain(look).min(), Wake::Trunk(id));
        let status = trunk.status(now);
        if self.told.get(&id) != Some(&status) {
            self.told.insert(id, status.clone());
            self.out.push(Output::Trunk(status));
        }
    }
}

/// The URI of a Contact that we wrote.
fn contact_uri(contact: &str) -> Option<SipUri> {
    let address = crate::sip::message::NameAddr::parse(contact).ok()?;
    address.uri.sip().cloned()
}

/// Tokens are random hex.
pub(super) fn random_of(token: &str) -> u64 {
    token.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
