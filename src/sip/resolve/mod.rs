//! Locating servers (RFC 3263): host names to the addresses, ports and transports behind them.
//!
//! [`plan`] decides what to ask and what the answers mean, [`weigh`] in which order servers are tried, [`cache`] how long
//! answers are good; all three are pure. [`dns`] carries the questions. Literals never reach the network.

pub mod cache;
pub mod dns;
pub mod keep;
pub mod plan;
pub mod record;
pub mod weigh;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

pub use plan::{Families, Lost, Site, Wanted};
pub use weigh::{Server, in_order};

use self::cache::{Cache, Look};
use self::dns::Dns;
use self::plan::{Reply, Step};
use self::record::Question;
use super::message::Host;
use crate::clock::Clock;

/// Cheap to clone; all clones share what they learned.
#[derive(Clone)]
pub struct Resolver {
    dns: Dns,
    cache: Arc<Mutex<Cache>>,
    clock: Clock,
}

/// Where a host is, and how long that is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub sites: Vec<Site>,
    pub good_for: Duration,
}

/// Rounds of questions that one host may need: NAPTR, SRV, addresses; one more for safety.
const ROUNDS: usize = 4;
/// How long an address that was given as such is good.
const FOREVER: Duration = Duration::from_secs(24 * 3_600);

impl Resolver {
    /// With these name servers, or with those of the system when there are none.
    pub fn new(servers: &[SocketAddr], clock: Clock) -> Resolver {
        Resolver { dns: Dns::new(servers), cache: Arc::default(), clock }
    }

    /// The servers of `wanted`, or a sentence for the operator.
    pub async fn locate(&self, wanted: &Wanted) -> Result<Located, String> {
        if matches!(wanted.host, Host::Name(_)) && !self.dns.is_there() {
            return Err("no DNS server is configured".into());
        }
        let mut known: HashMap<Question, Reply> = HashMap::new();
        let mut good_for = FOREVER;
        for _ in 0..=ROUNDS {
            match plan::step(wanted, &|question| known.get(question).cloned()) {
                Step::Found(sites) => return Ok(Located { sites, good_for }),
                Step::Lost(lost) => return Err(lost.to_string()),
                Step::Ask(questions) => {
                    let replies = join_all(questions.iter().map(|question| self.ask(question))).await;
                    for (question, (reply, ttl)) in questions.into_iter().zip(replies) {
                        good_for = good_for.min(ttl);
                        known.insert(question, reply);
                    }
                }
            }
        }
        Err("its name leads nowhere".into())
    }

    /// From the cache while it is fresh, else from DNS, else from the cache all the same.
    async fn ask(&self, question: &Question) -> (Reply, Duration) {
        let now = self.clock.now();
        let look = self.cache().look(question, now);
        let stale = match look {
            Look::Fresh { answer, until } => return (Reply::Said(answer), until.saturating_duration_since(now)),
            Look::Stale(answer) => Some(answer),
            Look::Unknown => None,
        };
        let asked = self.dns.ask(question, now).await;
        let now = self.clock.now();
        match asked {
            Ok((answer, ttl)) => {
                self.cache().keep(question.clone(), answer.clone(), ttl, now);
                (Reply::Said(answer), ttl)
            }
            Err(_) => {
                metrics::counter!("trunkline_dns_failures_total").increment(1);
                self.cache().failed(question, now);
                (stale.map_or(Reply::Silent, Reply::Said), Duration::ZERO)
            }
        }
    }

    // A poisoned lock only means that a thread panicked between two entries; each entry is whole.
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UtcTime;

    #[tokio::test]
    async fn literals_need_no_dns_and_must_fit_the_socket() {
        let clock = Clock::manual(UtcTime(0));
        let resolver = Resolver { dns: Dns::none(), cache: Arc::default(), clock };
        let found = |host: &str, listen: &str| {
            let families = Families::of(listen.parse().expect("address"));
            let (host, port) = Host::parse_with_port(host).expect("a host");
            let wanted = Wanted { host, port, transport: None, secure: false, families };
            let resolver = resolver.clone();
            async move { resolver.locate(&wanted).await.map(|located| located.sites[0].addresses.clone()) }
        };
        let v4 = "0.0.0.0:5060";
        assert_eq!(found("192.0.2.1", v4).await, Ok(vec!["192.0.2.1:5060".parse().expect("address")]));
        assert!(found("[2001:db8::1]", v4).await.is_err());
        assert!(found("[2001:db8::1]", "[::]:5060").await.is_ok());
        assert!(found("pbx.example.com", v4).await.is_err());
    }
}
