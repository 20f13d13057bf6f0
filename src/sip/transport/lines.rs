//! Which connections stand, how they are found, and how many there may be. No I/O: a line is a queue to its task.
//!
//! | Input | Condition | Output |
//! |---|---|---|
//! | a peer connects | the total or half of it for strangers is reached | refused: full |
//! | | its source has its share | refused: source full |
//! | | | a line; its peer is a stranger |
//! | something other than a refusal is sent on it | | its peer is no stranger any more |
//! | we want to reach somebody | a line of ours leads there | that line |
//! | | too many lines of ours | refused: full |
//! | | | a new line |
//! | a line ends | | its places are free |

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::trouble::Trouble;
use super::{Hop, Link, Transport, TrunkId};

/// What a connection of ours was opened for: there is one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    pub transport: Transport,
    pub address: SocketAddr,
    /// Whose TLS settings.
    pub trunk: Option<TrunkId>,
}

impl Way {
    /// `owner` is the trunk at that address, for hops whose own connection is gone.
    pub fn to(hop: Hop, owner: Option<TrunkId>) -> Way {
        let trunk = match hop.link {
            Link::Trunk(trunk) => Some(trunk),
            Link::Any | Link::Connection(_) => owner,
        };
        let trunk = trunk.filter(|_| hop.transport == Transport::Tls);
        Way { transport: hop.transport, address: hop.address, trunk }
    }
}

#[derive(Debug)]
pub struct Lines {
    lines: HashMap<u64, Line>,
    ways: HashMap<Way, u64>,
    by_source: HashMap<IpAddr, usize>,
    next: u64,
    inbound: usize,
    strangers: usize,
    most: usize,
    most_per_source: usize,
}

#[derive(Debug)]
struct Line {
    queue: mpsc::Sender<Bytes>,
    end: End,
}

#[derive(Debug)]
enum End {
    Peer { source: IpAddr, known: Arc<AtomicBool> },
    Ours(Way),
}

/// Connections that we may have opened at once.
pub const MOST_OURS: usize = 1024;

impl Lines {
    pub fn new(most: usize, most_per_source: usize) -> Lines {
        Lines {
            lines: HashMap::new(),
            ways: HashMap::new(),
            by_source: HashMap::new(),
            next: 1,
            inbound: 0,
            strangers: 0,
            most,
            most_per_source,
        }
    }

    /// A peer has connected. The flag tells the line's task when its peer is no stranger any more.
    pub fn admit(&mut self, peer: IpAddr, queue: mpsc::Sender<Bytes>) -> Result<(u64, Arc<AtomicBool>), Trouble> {
        let source = share_of(peer);
        if self.inbound >= self.most || self.strangers >= self.most.div_ceil(2) {
            return Err(Trouble::Full);
        }
        let held = self.by_source.entry(source).or_default();
        if *held >= self.most_per_source {
            return Err(Trouble::SourceFull);
        }
        *held += 1;
        self.inbound += 1;
        self.strangers += 1;
        let known = Arc::new(AtomicBool::new(false));
        let line = Line { queue, end: End::Peer { source, known: known.clone() } };
        Ok((self.add(line), known))
    }

    /// We connect.
    pub fn open(&mut self, way: Way, queue: mpsc::Sender<Bytes>) -> Result<u64, Trouble> {
        if self.ways.len() >= MOST_OURS {
            return Err(Trouble::Full);
        }
        let id = self.add(Line { queue, end: End::Ours(way) });
        self.ways.insert(way, id);
        Ok(id)
    }

    fn add(&mut self, line: Line) -> u64 {
        let id = self.next;
        self.next += 1;
        self.lines.insert(id, line);
        id
    }

    /// The line that `hop` asks for, else one of ours that leads there.
    pub fn find(&self, link: Link, way: &Way) -> Option<(u64, mpsc::Sender<Bytes>)> {
        let own = match link {
            Link::Connection(id) => Some(id).filter(|id| self.lines.contains_key(id)),
            Link::Any | Link::Trunk(_) => None,
        };
        let id = own.or_else(|| self.ways.get(way).copied())?;
        self.lines.get(&id).map(|line| (id, line.queue.clone()))
    }

    /// Something was sent to its peer that strangers do not get.
    pub fn trust(&mut self, id: u64) {
        if let Some(Line { end: End::Peer { known, .. }, .. }) = self.lines.get(&id)
            && !known.swap(true, Ordering::AcqRel)
        {
            self.strangers = self.strangers.saturating_sub(1);
        }
    }

    pub fn close(&mut self, id: u64) {
        match self.lines.remove(&id).map(|line| line.end) {
            Some(End::Peer { source, known }) => {
                self.inbound = self.inbound.saturating_sub(1);
                if !known.load(Ordering::Acquire) {
                    self.strangers = self.strangers.saturating_sub(1);
                }
                if let Some(held) = self.by_source.get_mut(&source) {
                    *held = held.saturating_sub(1);
                    if *held == 0 {
                        self.by_source.remove(&source);
                    }
                }
            }
            // A newer line may lead there already.
            Some(End::Ours(way)) if self.ways.get(&way) == Some(&id) => {
                self.ways.remove(&way);
            }
            Some(End::Ours(_)) | None => {}
        }
    }
}

/// An address of IPv4; of IPv6 the network that one host commonly has for itself.
fn share_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> mpsc::Sender<Bytes> {
        mpsc::channel(1).0
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn admit(lines: &mut Lines, source: &str) -> Result<u64, Trouble> {
        lines.admit(ip(source), queue()).map(|(id, _)| id)
    }

    #[test]
    fn half_of_the_places_are_kept_for_peers_that_were_let_in() {
        let mut lines = Lines::new(4, 100);
        let first = admit(&mut lines, "192.0.2.1").expect("a place");
        let second = admit(&mut lines, "192.0.2.2").expect("a place");
        assert_eq!(admit(&mut lines, "192.0.2.3"), Err(Trouble::Full));
        lines.trust(first);
        lines.trust(first);
        let third = admit(&mut lines, "192.0.2.3").expect("a place");
        lines.trust(second);
        lines.trust(third);
        admit(&mut lines, "192.0.2.4").expect("a place");
        assert_eq!(admit(&mut lines, "192.0.2.5"), Err(Trouble::Full), "all places are taken");
        for id in 0..10 {
            lines.close(id);
            lines.close(id);
        }
        assert_eq!((lines.inbound, lines.strangers, lines.by_source.len()), (0, 0, 0));
    }

    #[test]
    fn a_source_has_its_share_and_a_v6_network_is_one_source() {
        let mut lines = Lines::new(100, 2);
        for (source, fits) in [
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::1", true),
            ("2001:db8::ffff:1", true),
            ("2001:db8::2", false),
            ("2001:db8:0:1::2", true),
        ] {
            assert_eq!(admit(&mut lines, source).is_ok(), fits, "{source}");
        }
    }

    #[test]
    fn a_way_is_kept_by_its_newest_line_and_a_gone_connection_gives_way_to_it() {
        let mut lines = Lines::new(100, 100);
        let address = "192.0.2.1:5061".parse().expect("address");
        let hop = Hop::new(Transport::Tls, address, Link::Connection(1));
        let way = Way::to(hop, Some(TrunkId(3)));
        assert_eq!(way.trunk, Some(TrunkId(3)));
        let inbound = admit(&mut lines, "192.0.2.1").expect("a place");
        assert_eq!(lines.find(hop.link, &way).map(|(id, _)| id), Some(inbound));
        lines.close(inbound);
        assert!(lines.find(hop.link, &way).is_none());
        let old = lines.open(way, queue()).expect("a place");
        let new = lines.open(way, queue()).expect("a place");
        lines.close(old);
        assert_eq!(lines.find(hop.link, &way).map(|(id, _)| id), Some(new));
        assert_eq!(Way::to(Hop::new(Transport::Tcp, address, Link::Trunk(TrunkId(3))), None).trunk, None);
    }
}
