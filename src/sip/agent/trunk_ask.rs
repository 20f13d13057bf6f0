//! What trunks are asked outside of calls: REGISTER and OPTIONS.
//!
//! The machines of [`crate::sip::trunk`] decide; here requests are written, servers chosen, and outcomes brought back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::errand::{Errand, Purpose, Useless};
use super::schedule::Wake;
use super::{Output, UserAgent};
use crate::sip::dialog::call::ALLOW;
use crate::sip::message::uri::escape_user;
use crate::sip::message::{Request, Response, SipUri, Uri};
use crate::sip::resolve::{Families, Site, Wanted};
use crate::sip::transport::{Hop, TrunkId};
use crate::sip::trunk::Trunk;
use crate::sip::trunk::health::Health;
use crate::sip::trunk::places::Choice;
use crate::sip::trunk::registration::{Register, Registration, Surroundings};

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
            self.register(id, wish, None, now);
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
        self.register(id, wish, None, now);
        if ask {
            self.ask_alive(id, now);
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

    /// Sends a REGISTER to the first of `servers`, the others to follow; to whichever come first when absent.
    fn register(&mut self, id: TrunkId, wish: Option<Register>, servers: Option<VecDeque<Hop>>, now: Instant) {
        let Some(wish) = wish else { return };
        let servers = servers.unwrap_or_else(|| self.servers(id, now));
        let Some(hop) = servers.front().copied() else {
            return self.registration_heard(id, "", servers, now, |registration, around| {
                registration.unanswered("no server of the trunk takes requests now", around)
            });
        };
        let Some(user) = self.trunks.by_id(id).map(|trunk| trunk.account().to_owned()) else { return };
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
        self.ask(Purpose::Register(id), request, servers, user, now);
    }

    /// OPTIONS to the servers of the trunk, one after the other until one answers.
    fn ask_alive(&mut self, id: TrunkId, now: Instant) {
        let servers = self.servers(id, now);
        let Some(trunk) = self.trunks.by_id(id) else { return };
        let Some(hop) = servers.front().copied() else {
            return self.lived(id, Err("none of its servers takes requests now"), now);
        };
        let caller = trunk.default_caller().to_owned();
        let local = self.local_end(hop, &caller);
        let domain = SipUri::new(None, trunk.host.clone(), trunk.explicit_port.then_some(trunk.port));
        let target = Uri::Sip(domain);
        let mut request = Request::new(rsip::Method::Options.into(), target.clone());
        let (user, host) = (escape_user(&caller), trunk.host.clone());
        let at = if user.is_empty() { "" } else { "@" };
        let routes = trunk.routes();
        let tokens = &mut *self.settings.tokens;
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
        self.ask(Purpose::Options(id), request, servers, caller, now);
    }

    fn ask(&mut self, purpose: Purpose, request: Request, servers: VecDeque<Hop>, contact: String, now: Instant) {
        if let Some(errand) = Errand::new(purpose, request, servers) {
            self.run_errand(errand.reached_as(contact), now);
        }
    }

    /// A final response to a REGISTER. What follows goes to the server that answered.
    pub(super) fn register_answered(&mut self, id: TrunkId, errand: &Errand, response: &Response, now: Instant) {
        let uri = errand.request.uri.to_string();
        self.registration_heard(id, &uri, errand.servers(), now, |registration, around| {
            registration.answered(response, around)
        });
    }

    /// A server is of no use to a REGISTER now.
    pub(super) fn register_useless(&mut self, id: TrunkId, errand: &Errand, useless: &Useless, now: Instant) {
        let uri = errand.request.uri.to_string();
        self.registration_heard(id, &uri, errand.others.clone(), now, |registration, around| match useless {
            Useless::Silent => registration.unanswered("it does not answer", around),
            Useless::Unreachable => registration.unanswered("it cannot be reached", around),
            Useless::Answered(response) => registration.answered(response, around),
        });
    }

    pub(super) fn lived(&mut self, id: TrunkId, outcome: Result<(), &str>, now: Instant) {
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

    /// `servers`: where the REGISTER that may follow goes.
    fn registration_heard(
        &mut self,
        id: TrunkId,
        uri: &str,
        servers: VecDeque<Hop>,
        now: Instant,
        act: impl FnOnce(&mut Registration, &Surroundings<'_>) -> Option<Register>,
    ) {
        let (random, cnonce) = (self.random(), (self.settings.tokens)());
        let Some(trunk) = self.trunks.by_id_mut(id) else { return };
        let another = !servers.is_empty();
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
        self.register(id, wish, Some(servers), now);
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

    /// The ways to the servers of a trunk, best first.
    fn servers(&mut self, id: TrunkId, now: Instant) -> VecDeque<Hop> {
        let tokens = &mut *self.settings.tokens;
        let Some(trunk) = self.trunks.by_id(id) else { return VecDeque::new() };
        match trunk.choice(now, &mut || random_of(&tokens())) {
            Choice::Servers(servers) => {
                servers.iter().map(|server| trunk.hop(server.transport, server.address)).collect()
            }
            Choice::Resting(_) | Choice::Unknown => VecDeque::new(),
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
