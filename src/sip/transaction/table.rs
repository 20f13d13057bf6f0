//! All live transactions of one endpoint, found by key. Still no I/O: outputs name a hop and bytes.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;

use crate::sip::message::Response;
use crate::sip::transport::Hop;

use super::{
    ClientInvite, ClientKey, ClientOther, ClientOutput, ServerInvite, ServerKey, ServerOther, ServerOutput, Timers,
};

enum ClientMachine {
    Invite(ClientInvite),
    Other(ClientOther),
}

enum ServerMachine {
    Invite(ServerInvite),
    Other(ServerOther),
}

/// A request of ours that is under way.
pub struct Client<O> {
    machine: ClientMachine,
    pub to: Hop,
    pub owner: O,
    /// Builds the ACK of a refusal.
    ack: Option<AckBuilder>,
    /// The connection that it was sent on last.
    line: Option<u64>,
    /// It went out a second time because its connection was lost.
    again: bool,
    /// What is tried instead when the transport refuses it.
    fallback: Option<Fallback>,
    /// Why the transport refused it, in the operator's words.
    pub problem: Option<&'static str>,
}

/// A request on its way to the wire.
pub struct Outgoing {
    pub request: Bytes,
    pub to: Hop,
    /// There for INVITE and only then.
    pub ack: Option<AckBuilder>,
    /// What is tried instead when the transport refuses it.
    pub fallback: Option<Fallback>,
}

/// The same request over another transport.
pub struct Fallback {
    pub request: Bytes,
    pub to: Hop,
    pub ack: Option<AckBuilder>,
}

/// A request of a peer that is being answered.
pub struct Server<O> {
    machine: ServerMachine,
    /// Where responses go.
    pub to: Hop,
    pub owner: O,
}

pub struct Clients<O>(HashMap<ClientKey, Client<O>>);
pub struct Servers<O>(HashMap<ServerKey, Server<O>>);

/// Builds the ACK that a refusal of an INVITE is owed.
pub type AckBuilder = Box<dyn Fn(&Response) -> Bytes + Send>;

impl ClientMachine {
    fn start(request: Bytes, invite: bool, timers: Timers, now: Instant, out: &mut Vec<ClientOutput>) -> ClientMachine {
        if invite {
            ClientMachine::Invite(ClientInvite::start(request, timers, now, out))
        } else {
            ClientMachine::Other(ClientOther::start(request, timers, now, out))
        }
    }

    fn is_unanswered(&self) -> bool {
        match self {
            ClientMachine::Invite(machine) => machine.is_unanswered(),
            ClientMachine::Other(machine) => machine.is_unanswered(),
        }
    }
}

impl<O> Client<O> {
    /// Not even a provisional response came.
    pub fn is_unanswered(&self) -> bool {
        self.machine.is_unanswered()
    }
}

impl<O> Clients<O> {
    pub fn new() -> Clients<O> {
        Clients(HashMap::new())
    }

    /// Starts a transaction.
    pub fn send(
        &mut self,
        key: ClientKey,
        outgoing: Outgoing,
        owner: O,
        timers: Timers,
        now: Instant,
    ) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        let Outgoing { request, to, ack, fallback } = outgoing;
        let machine = ClientMachine::start(request, ack.is_some(), timers.over(to.transport), now, &mut out);
        let client = Client { machine, to, owner, ack, line: None, again: false, fallback, problem: None };
        self.0.insert(key, client);
        out
    }

    pub fn sent_on(&mut self, key: &ClientKey, line: u64) {
        if let Some(client) = self.0.get_mut(key) {
            client.line = Some(line);
        }
    }

    /// Unanswered requests that were last sent on that connection.
    pub fn unanswered_on(&self, line: u64) -> Vec<ClientKey> {
        let on_it = self.0.iter().filter(|(_, client)| client.line == Some(line) && client.machine.is_unanswered());
        on_it.map(|(key, _)| key.clone()).collect()
    }

    /// Its connection was lost before anybody answered: it is sent once more, on a new one. Peers know a request that
    /// they have seen by its branch.
    pub fn again(&mut self, key: &ClientKey) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        if let Some(client) = self.0.get_mut(key).filter(|client| !client.again) {
            client.again = true;
            client.line = None;
            match &client.machine {
                ClientMachine::Invite(machine) => machine.again(&mut out),
                ClientMachine::Other(machine) => machine.again(&mut out),
            };
        }
        out
    }

    pub fn find(&self, key: &ClientKey) -> Option<&Client<O>> {
        self.0.get(key)
    }

    pub fn response(&mut self, key: &ClientKey, response: &Response, now: Instant) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        if let Some(client) = self.0.get_mut(key) {
            let code = response.code();
            match &mut client.machine {
                ClientMachine::Invite(machine) => {
                    let ack = || client.ack.as_ref().map(|build| build(response)).unwrap_or_default();
                    machine.response(code, ack, now, &mut out);
                }
                ClientMachine::Other(machine) => machine.response(code, now, &mut out),
            }
        }
        out
    }

    pub fn tick(&mut self, key: &ClientKey, now: Instant) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        match self.0.get_mut(key).map(|client| &mut client.machine) {
            Some(ClientMachine::Invite(machine)) => machine.tick(now, &mut out),
            Some(ClientMachine::Other(machine)) => machine.tick(now, &mut out),
            None => {}
        }
        out
    }

    /// The transport refused it: it falls back, or it is over.
    pub fn transport_failed(
        &mut self,
        key: &ClientKey,
        problem: &'static str,
        timers: Timers,
        now: Instant,
    ) -> Vec<ClientOutput> {
        let mut out = Vec::new();
        if let Some(client) = self.0.get_mut(key) {
            client.problem = Some(problem);
            if client.machine.is_unanswered()
                && let Some(Fallback { request, to, ack }) = client.fallback.take()
            {
                let timers = timers.over(to.transport);
                client.machine = ClientMachine::start(request, ack.is_some(), timers, now, &mut out);
                (client.to, client.ack, client.line) = (to, ack, None);
                return out;
            }
        }
        match self.0.get_mut(key).map(|client| &mut client.machine) {
            Some(ClientMachine::Invite(machine)) => machine.transport_failed(&mut out),
            Some(ClientMachine::Other(machine)) => machine.transport_failed(&mut out),
            None => {}
        }
        out
    }

    /// A CANCEL was sent for it.
    pub fn cancelled(&mut self, key: &ClientKey, now: Instant) {
        if let Some(ClientMachine::Invite(machine)) = self.0.get_mut(key).map(|client| &mut client.machine) {
            machine.cancelled(now);
        }
    }

    pub fn wake_at(&self, key: &ClientKey) -> Option<Instant> {
        self.0.get(key).and_then(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.wake_at(),
            ClientMachine::Other(machine) => machine.wake_at(),
        })
    }

    /// Forgets the transaction wherever it is: nobody is left to hear of it.
    pub fn forget(&mut self, key: &ClientKey) -> Option<O> {
        self.0.remove(key).map(|client| client.owner)
    }

    /// Forgets the transaction when it is over and hands back its owner.
    pub fn reap(&mut self, key: &ClientKey) -> Option<O> {
        let over = self.0.get(key).is_some_and(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.is_terminated(),
            ClientMachine::Other(machine) => machine.is_terminated(),
        });
        if over { self.0.remove(key).map(|client| client.owner) } else { None }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any request still waits for its final response.
    pub fn any_awaits_final(&self) -> bool {
        self.0.values().any(|client| match &client.machine {
            ClientMachine::Invite(machine) => machine.awaits_final(),
            ClientMachine::Other(machine) => machine.awaits_final(),
        })
    }
}

impl<O> Servers<O> {
    pub fn new() -> Servers<O> {
        Servers(HashMap::new())
    }

    pub fn start(&mut self, key: ServerKey, invite: bool, to: Hop, owner: O, timers: Timers) {
        let timers = timers.over(to.transport);
        let machine = if invite {
            ServerMachine::Invite(ServerInvite::start(timers))
        } else {
            ServerMachine::Other(ServerOther::start(timers))
        };
        self.0.insert(key, Server { machine, to, owner });
    }

    pub fn find(&self, key: &ServerKey) -> Option<&Server<O>> {
        self.0.get(key)
    }

    pub fn set_owner(&mut self, key: &ServerKey, owner: O) {
        if let Some(server) = self.0.get_mut(key) {
            server.owner = owner;
        }
    }

    pub fn is_open(&self, key: &ServerKey) -> bool {
        self.0.get(key).is_some_and(|server| match &server.machine {
            ServerMachine::Invite(machine) => machine.is_open(),
            ServerMachine::Other(machine) => machine.is_open(),
        })
    }

    pub fn repeated(&mut self, key: &ServerKey) -> Vec<ServerOutput> {
        let mut out = Vec::new();
        match self.0.get_mut(key).map(|server| &mut server.machine) {
            Some(ServerMachine::Invite(machine)) => machine.repeated(&mut out),
            Some(ServerMachine::Other(machine)) => machine.repeated(&mut out),
            None => {}
        }
        out
    }

    pub fn ack(&mut self, key: &ServerKey, now: Instant) {
        if let Some(ServerMachine::Invite(machine)) = self.0.get_mut(key).map(|server| &mut server.machine) {
            machine.ack(now);
        }
    }

    pub fn respond(&mut self, key: &ServerKey, code: u16, response: Bytes, now: Instant) -> Vec<ServerOutput> {
        let mut out = Vec::new();
        match self.0.get_mut(key).map(|server| &mut server.machine) {
            Some(ServerMachine::Invite(machine)) => machine.respond(code, response, now, &mut out),
            Some(ServerMachine::Other(machine)) => machine.respond(code, response, now, &mut out),
            None => {}
        }
        out
    }

    pub fn tick(&mut self, key: &ServerKey, now: Instant) -> Vec<ServerOutput> {
        let mut out = Vec::new();
        match self.0.get_mut(key).map(|server| &mut server.machine) {
            Some(ServerMachine::Invite(machine)) => machine.tick(now, &mut out),
            Some(ServerMachine::Other(machine)) => machine.tick(now),
            None => {}
        }
        out
    }

    pub fn wake_at(&self, key: &ServerKey) -> Option<Instant> {
        self.0.get(key).and_then(|server| match &server.machine {
            ServerMachine::Invite(machine) => machine.wake_at(),
            ServerMachine::Other(machine) => machine.wake_at(),
        })
    }

    /// Forgets the transaction wherever it is.
    pub fn forget(&mut self, key: &ServerKey) -> Option<O> {
        self.0.remove(key).map(|server| server.owner)
    }

    /// Forgets the transaction when it is over and hands back its owner.
    pub fn reap(&mut self, key: &ServerKey) -> Option<O> {
        let over = self.0.get(key).is_some_and(|server| match &server.machine {
            ServerMachine::Invite(machine) => machine.is_terminated(),
            ServerMachine::Other(machine) => machine.is_terminated(),
        });
        if over { self.0.remove(key).map(|server| server.owner) } else { None }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<O> Default for Clients<O> {
    fn default() -> Clients<O> {
        Clients::new()
    }
}

impl<O> Default for Servers<O> {
    fn default() -> Servers<O> {
        Servers::new()
    }
}
