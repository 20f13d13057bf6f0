//! Which way a message goes, and what becomes of it when the way is lost: connections, trunks behind them, and the switch
//! of large requests to TCP (RFC 3261 §18.1.1).
//!
//! | Request of ours | Way | Outcome | Then |
//! |---|---|---|---|
//! | up to 1300 bytes | as asked | | |
//! | larger, over UDP | TCP | no connection | the same over UDP; the address is remembered for ten minutes |
//! | larger, over UDP, TCP refused lately | UDP | | |
//! | ACK of a 2xx, larger | UDP | | the 2xx comes again until it has arrived |
//! | CANCEL | that of its INVITE | | |
//! | any, unanswered | a connection that stood | lost | once more on a new one, then failed |
//! | any, unanswered | a connection that never stood | | failed |
//! | any, answered by a 1xx | | lost | waited for: the answer finds a way of its own (§18.2.2) |

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CallKey, ClientOwner, Output, Purpose, UserAgent, ack_builder};
use crate::sip::event::CallFailure;
use crate::sip::message::reader::fields_of;
use crate::sip::message::{Request, Via, WriteError};
use crate::sip::transaction::ClientKey;
use crate::sip::transaction::table::{Fallback, Outgoing};
use crate::sip::transport::framing::Refusal;
use crate::sip::transport::{Hop, Link, Transport, TrunkId};
use crate::sip::trunk::Trunk;

/// What the user agent knows of connections.
#[derive(Default)]
pub(super) struct Ways {
    /// Connections whose certificate carries a trunk's name.
    named: HashMap<u64, TrunkId>,
    /// Addresses that took no TCP, and until when they are not asked again.
    no_tcp: HashMap<SocketAddr, Instant>,
}

/// A request beyond this may not go over UDP when the path is not known (RFC 3261 §18.1.1).
pub const MOST_OVER_UDP: usize = 1_300;
const NO_TCP_KEPT: Duration = Duration::from_secs(600);
const MOST_NO_TCP: usize = 1_024;

impl UserAgent {
    /// A request in a new transaction.
    pub(super) fn send(&mut self, call: CallKey, request: &Arc<Request>, to: Hop, purpose: Purpose, now: Instant) {
        let key = ClientKey::of_request(request);
        // Every 1xx of an attempt that nobody wants any more asks for its CANCEL.
        if purpose == Purpose::Cancel && self.clients.find(&key).is_some() {
            return;
        }
        let of_invite = ClientKey::new(&request.branch(), "INVITE");
        let cancelled = self.clients.find(&of_invite).filter(|_| purpose == Purpose::Cancel).map(|invite| invite.to);
        let to = cancelled.unwrap_or(to);
        let outgoing = match self.outgoing(request, to, cancelled.is_none(), now) {
            Ok(outgoing) => outgoing,
            Err(problem) => {
                tracing::warn!(%problem, method = %request.method, "a request was not sent");
                let failure = CallFailure::Unreachable("the request would hold a line break".into());
                return self.with_call(call, now, |call, step| call.failed(purpose, request, failure, step));
            }
        };
        if request.is(rsip::Method::Invite)
            && let Some(entry) = self.calls.get_mut(&call)
        {
            entry.invites.retain(|invite| self.clients.find(invite).is_some());
            entry.invites.push(key.clone());
        }
        let owner = ClientOwner { call, purpose, request: request.clone() };
        let outputs = self.clients.send(key.clone(), outgoing, owner, self.settings.timers, now);
        self.client_outputs(&key, outputs, now);
    }

    /// How a request goes out: over the transport of `to`, or, when it is large and `switches`, over TCP first.
    pub(super) fn outgoing(
        &self,
        request: &Request,
        to: Hop,
        switches: bool,
        now: Instant,
    ) -> Result<Outgoing, WriteError> {
        let ack = |request: &Arc<Request>| request.is(rsip::Method::Invite).then(|| ack_builder(request.clone()));
        let carried = Arc::new(self.carried_by(request, to.transport));
        let datagram = carried.write()?;
        let large = switches && to.transport == Transport::Udp && datagram.len() > MOST_OVER_UDP;
        if large && !self.refuses_tcp(to.address, now) {
            let switched = Arc::new(self.carried_by(request, Transport::Tcp));
            let over_tcp = Hop::new(Transport::Tcp, to.address, Link::Any);
            let fallback = Some(Fallback { request: datagram, to, ack: ack(&carried) });
            return Ok(Outgoing { request: switched.write()?, to: over_tcp, ack: ack(&switched), fallback });
        }
        Ok(Outgoing { request: datagram, to, ack: ack(&carried), fallback: None })
    }

    /// The request as `transport` carries it: only Via differs.
    pub(super) fn carried_by(&self, request: &Request, transport: Transport) -> Request {
        let mut carried = request.clone();
        let first = request.fields.list("Via").into_iter().next();
        let Some(mut via) = first.and_then(|via| Via::parse(&via).ok()) else { return carried };
        if via.transport != transport.protocol() {
            via.transport = transport.protocol().to_owned();
            via.port = via.port.map(|_| self.settings.ports.of(transport));
            carried.fields.set("Via", via.to_string());
        }
        carried
    }

    fn refuses_tcp(&self, address: SocketAddr, now: Instant) -> bool {
        self.ways.no_tcp.get(&address).is_some_and(|until| now < *until)
    }

    /// The socket or the connection refused a message of that transaction.
    pub fn transport_failed(&mut self, key: &ClientKey, problem: &'static str, now: Instant) {
        if self.errand_transport_failed(key, problem, now) {
            return;
        }
        let Some(client) = self.clients.find(key) else { return };
        let before = client.to;
        let outputs = self.clients.transport_failed(key, problem, self.settings.timers, now);
        let after = self.clients.find(key).map(|client| client.to);
        self.note_fallback(before, after, now);
        self.client_outputs(key, outputs, now);
    }

    /// A request that fell back to UDP says that nobody takes TCP there.
    pub(super) fn note_fallback(&mut self, before: Hop, after: Option<Hop>, now: Instant) {
        if before.transport == Transport::Tcp && after.is_some_and(|after| after.transport == Transport::Udp) {
            self.ways.no_tcp.retain(|_, until| now < *until);
            if self.ways.no_tcp.len() < MOST_NO_TCP {
                self.ways.no_tcp.insert(before.address, now + NO_TCP_KEPT);
            }
        }
    }

    /// A message of that transaction went out on that connection.
    pub fn sent_on(&mut self, key: &ClientKey, line: u64) {
        self.clients.sent_on(key, line);
        self.errands.sent_on(key, line);
    }

    /// A connection is gone; `opened` when it ever stood.
    pub fn line_lost(&mut self, line: u64, opened: bool, problem: &'static str, now: Instant) {
        self.ways.named.remove(&line);
        self.errands_lost(line, opened, problem, now);
        for key in self.clients.unanswered_on(line) {
            let again = if opened { self.clients.again(&key) } else { Vec::new() };
            if again.is_empty() {
                self.transport_failed(&key, problem, now);
            } else {
                self.client_outputs(&key, again, now);
            }
        }
    }

    /// The certificate shown on that connection was verified and carries the names of these trunks.
    pub fn line_named(&mut self, line: u64, trunks: &[TrunkId]) {
        if let Some(trunk) = trunks.first() {
            self.ways.named.insert(line, *trunk);
        }
    }

    /// The trunk whose TLS settings a new connection to that hop needs.
    pub fn owner_of(&self, hop: Hop) -> Option<TrunkId> {
        self.trunks.of_source(hop.address).map(|trunk| trunk.id)
    }

    /// The trunk that a message came from: by the name in its certificate, by the connection that we opened to it, or by its
    /// address. A trunk of TLS is known over TLS only, whoever else sends from its address.
    pub(super) fn trunk_of(&self, source: Hop) -> Option<&Trunk> {
        self.trunk_of_call(source, "")
    }

    /// The same for a request to `user`, which may be the contact that we registered.
    pub(super) fn trunk_of_call(&self, source: Hop, user: &str) -> Option<&Trunk> {
        let by_link = match source.link {
            Link::Connection(line) => self.ways.named.get(&line).copied(),
            Link::Trunk(trunk) => Some(trunk),
            Link::Any => None,
        };
        match by_link {
            Some(id) => self.trunks.by_id(id),
            None => self.trunks.of_call(source.transport, source.address, user),
        }
    }

    /// Answers the head of a message that ended its connection.
    pub fn unframed(&mut self, refusal: &Refusal, source: Hop, now: Instant) {
        metrics::counter!("trunkline_sip_messages_malformed_total").increment(1);
        if let Some(fields) = fields_of(&refusal.head, &self.settings.limits) {
            self.refuse_malformed(refusal.status, refusal.problem, fields, source, now);
        }
    }

    /// Whether an answer of ours may go to that address: strangers get only so many.
    pub fn may_answer(&mut self, source: Hop, now: Instant) -> bool {
        !self.is_unheard(source, now)
    }
}

impl Output {
    /// A message that belongs to no transaction.
    pub(super) fn bare(to: Hop, datagram: bytes::Bytes) -> Output {
        Output::Transmit { to, datagram, transaction: None }
    }
}
