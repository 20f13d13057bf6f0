//! Slows down guessing, without giving anybody the means to lock somebody else out. Pure: time comes in.
//!
//! | Who fails | What happens |
//! |---|---|
//! | an address, ten times within 60 s | refused until the oldest of the ten is 60 s old |
//! | an account, from addresses that never signed in to it | from the third failure on, a delay of 1, 2, 4 … 30 s for such addresses |
//! | an account, from an address that has signed in to it | only the address rule: strangers cannot delay its owner |
//!
//! An attempt counts as failed from the moment it is admitted until [`Lockout::succeeded`], so that attempts made at
//! the same time cannot slip under the limit. Refused attempts count for nothing: they lengthen no delay.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

const FAILURES_PER_ADDRESS: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
const FREE_FAILURES: u32 = 2;
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// An account's failures are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Addresses, and accounts, that are remembered at once; the stalest goes first.
const REMEMBERED: usize = 10_000;

#[derive(Default)]
pub(super) struct Lockout {
    addresses: HashMap<IpAddr, VecDeque<Instant>>,
    accounts: HashMap<String, Account>,
}

struct Account {
    failures: u32,
    last: Instant,
    blocked_until: Instant,
}

/// An admitted attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    address: IpAddr,
    account: String,
    at: Instant,
}

impl Lockout {
    /// Admits an attempt, or says how long to wait. `known`: the address has signed in to this account before.
    pub(super) fn admit(
        &mut self,
        address: IpAddr,
        account: &str,
        known: bool,
        now: Instant,
    ) -> Result<Attempt, Duration> {
        let address = network_of(address);
        if let Some(wait) = self.address_wait(address, now) {
            return Err(wait);
        }
        if !known {
            if let Some(wait) = self.account_wait(account, now) {
                return Err(wait);
            }
            self.count_account(account, now);
        }
        self.count_address(address, now);
        Ok(Attempt { address, account: account.to_owned(), at: now })
    }

    /// The attempt was no failure after all.
    pub(super) fn succeeded(&mut self, attempt: &Attempt) {
        if let Some(failures) = self.addresses.get_mut(&attempt.address) {
            if let Some(position) = failures.iter().position(|at| *at == attempt.at) {
                failures.remove(position);
            }
            if failures.is_empty() {
                self.addresses.remove(&attempt.address);
            }
        }
        self.accounts.remove(&attempt.account);
    }

    /// Forgets what no longer matters.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.addresses.retain(|_, failures| failures.back().is_some_and(|last| now.duration_since(*last) < WINDOW));
        self.accounts.retain(|_, account| now.duration_since(account.last) < FORGET);
    }

    fn address_wait(&mut self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.addresses.get_mut(&address)?;
        while failures.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            failures.pop_front();
        }
        let oldest = failures.front()?;
        (failures.len() >= FAILURES_PER_ADDRESS).then(|| WINDOW.saturating_sub(now.duration_since(*oldest)))
    }

    fn account_wait(&self, account: &str, now: Instant) -> Option<Duration> {
        let wait = self.accounts.get(account)?.blocked_until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    fn count_address(&mut self, address: IpAddr, now: Instant) {
        if self.addresses.len() >= REMEMBERED && !self.addresses.contains_key(&address) {
            self.sweep(now);
            drop_stalest(&mut self.addresses, |failures| failures.back().copied());
        }
        self.addresses.entry(address).or_default().push_back(now);
    }

    fn count_account(&mut self, account: &str, now: Instant) {
        if self.accounts.len() >= REMEMBERED && !self.accounts.contains_key(account) {
            self.sweep(now);
            drop_stalest(&mut self.accounts, |account| Some(account.last));
        }
        let entry =
            self.accounts.entry(account.to_owned()).or_insert(Account { failures: 0, last: now, blocked_until: now });
        if now.duration_since(entry.last) >= FORGET {
            entry.failures = 0;
        }
        entry.failures = entry.failures.saturating_add(1);
        entry.last = now;
        entry.blocked_until = now + delay(entry.failures);
    }
}

fn delay(failures: u32) -> Duration {
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(10)).min(LONGEST_DELAY),
    }
}

fn drop_stalest<K: Clone + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, last: impl Fn(&V) -> Option<Instant>) {
    if map.len() < REMEMBERED {
        return;
    }
    let stalest = map.iter().min_by_key(|(_, value)| last(value)).map(|(key, _)| key.clone());
    if let Some(key) = stalest {
        map.remove(&key);
    }
}

/// Whom an address stands for: IPv4 itself (also mapped into IPv6), IPv6 its /64, which one host may own whole.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, UtcTime};

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_eleventh_failure_of_an_address_within_a_minute_is_refused() {
        let now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        for second in 0..10 {
            let account = format!("user{second}");
            lockout.admit(ip(1), &account, false, now + Duration::from_secs(second)).expect("admitted");
        }
        let later = now + Duration::from_secs(20);
        assert_eq!(lockout.admit(ip(1), "other", false, later).expect_err("refused"), Duration::from_secs(40));
        assert!(lockout.admit(ip(2), "other", false, later).is_ok(), "another address is not concerned");
        assert!(lockout.admit(ip(1), "other", false, now + Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn a_success_gives_its_place_back() {
        let now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        for _ in 0..50 {
            let attempt = lockout.admit(ip(1), "anna", false, now).expect("admitted");
            lockout.succeeded(&attempt);
        }
        assert!(lockout.addresses.is_empty() && lockout.accounts.is_empty());
    }

    #[test]
    fn strangers_are_delayed_more_and_more_and_never_the_owner() {
        let mut now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        let mut waits = Vec::new();
        for stranger in 1..=9 {
            lockout.admit(ip(stranger), "anna", false, now).expect("admitted");
            let wait = lockout.account_wait("anna", now).unwrap_or_default();
            waits.push(wait.as_secs());
            assert!(lockout.admit(ip(250), "anna", true, now).is_ok(), "the owner's address is free");
            now += wait;
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn refused_attempts_lengthen_no_delay() {
        let now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        for stranger in 1..=3 {
            lockout.admit(ip(stranger), "anna", false, now).expect("admitted");
        }
        for stranger in 10..200 {
            assert_eq!(lockout.admit(ip(stranger), "anna", false, now).expect_err("wait"), Duration::from_secs(1));
        }
        assert!(lockout.admit(ip(201), "anna", false, now + Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn one_v6_host_is_one_address_whatever_it_writes_into_the_lower_half() {
        let now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        for host in 0..10u16 {
            let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, host));
            lockout.admit(address, &host.to_string(), false, now).expect("admitted");
        }
        let eleventh = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 9, 9, 9, 9));
        assert!(lockout.admit(eleventh, "x", false, now).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let now = Clock::manual(UtcTime(0)).now();
        let mut lockout = Lockout::default();
        for n in 0..12_000u32 {
            let address = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            lockout.admit(address, &n.to_string(), false, now + Duration::from_millis(u64::from(n))).expect("admitted");
        }
        assert!(lockout.addresses.len() <= REMEMBERED && lockout.accounts.len() <= REMEMBERED);
        lockout.sweep(now + Duration::from_secs(3600));
        assert!(lockout.addresses.is_empty() && lockout.accounts.is_empty());
    }
}
