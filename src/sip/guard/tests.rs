#![allow(clippy::disallowed_methods)]

use super::answers::BUCKETS;
use super::tries::{FORGOTTEN_AFTER, MAX_SOURCES};
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

#[test]
fn a_source_gets_its_places_back_and_no_more() {
    let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
    let mut guard = Guard::new(2);
    assert!(guard.enter(a) && guard.enter(a) && !guard.enter(a));
    assert!(guard.enter(b));
    guard.leave(a);
    assert!(guard.enter(a) && !guard.enter(a));
    guard.leave(a);
    guard.leave(a);
    guard.leave(b);
    guard.leave(b);
    assert!(guard.dialogs.is_empty());
}

#[test]
fn wrong_passwords_lock_for_ever_longer_and_are_forgotten() {
    let (mut now, source, mut guard) = (Instant::now(), ip("192.0.2.1"), Guard::new(1));
    for _ in 0..FREE_TRIES {
        guard.failed(source, now);
        assert_eq!(guard.locked_for(source, now), None);
    }
    let mut locks = Vec::new();
    for _ in 0..40 {
        guard.failed(source, now);
        let lock = guard.locked_for(source, now).expect("locked");
        locks.push(lock.as_secs());
        assert_eq!(guard.locked_for(ip("192.0.2.2"), now), None, "only the source itself");
        now += lock;
        assert_eq!(guard.locked_for(source, now), None, "and no longer");
    }
    assert_eq!(locks[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    assert_eq!(locks.last(), Some(&300));
    now += FORGOTTEN_AFTER;
    guard.failed(source, now);
    assert_eq!(guard.locked_for(source, now), None, "a new beginning");
}

#[test]
fn a_network_of_ipv6_is_one_source() {
    let (now, mut guard) = (Instant::now(), Guard::new(1));
    for host in 0..=FREE_TRIES {
        guard.failed(ip(&format!("2001:db8:1:2::{host:x}")), now);
    }
    assert!(guard.locked_for(ip("2001:db8:1:2:ffff::1"), now).is_some());
    assert!(guard.locked_for(ip("2001:db8:1:3::1"), now).is_none());
}

#[test]
fn the_table_of_tries_is_bounded_and_keeps_whoever_goes_on() {
    let (now, mut guard) = (Instant::now(), Guard::new(1));
    let persistent = ip("192.0.2.1");
    for number in 0..100_000_u32 {
        guard.failed(IpAddr::from(number.to_be_bytes()), now);
        if number % 1_000 == 0 {
            guard.failed(persistent, now);
        }
        assert!(guard.tries.young.len() + guard.tries.old.len() <= 2 * MAX_SOURCES);
    }
    assert_eq!(guard.locked_for(persistent, now), Some(LONGEST_LOCK));
}

#[test]
fn a_stranger_gets_a_burst_of_answers_and_then_a_trickle() {
    let (now, source, mut guard) = (Instant::now(), ip("192.0.2.1"), Guard::new(1));
    let answered = |guard: &mut Guard, at: Instant| (0..1_000).filter(|_| guard.may_answer(source, at)).count();
    assert_eq!(answered(&mut guard, now), BURST as usize);
    assert_eq!(answered(&mut guard, now + Duration::from_secs(1)), 20);
    assert_eq!(answered(&mut guard, now + Duration::from_secs(3_600)), BURST as usize);
    assert_eq!(guard.answers.full_at.len(), BUCKETS);
}

const ASK: &[u8] = b"OPTIONS sip:box SIP/2.0\r\nUser-Agent: phone\r\n\r\n";
const SCAN: &[u8] = b"OPTIONS sip:box SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";

fn passed(guard: &mut Guard, source: &str, standing: Standing, now: Instant) -> [usize; 3] {
    let mut counts = [0; 3];
    for _ in 0..20_000 {
        counts[guard.gate(ASK, ip(source), standing, now) as usize] += 1;
    }
    counts
}

#[test]
fn the_rows_of_the_gates_table() {
    let (now, mut guard) = (Instant::now(), Guard::new(1));
    let (trunk, stranger, friend) = ("192.0.2.1", "198.51.100.7", "203.0.113.9");
    assert_eq!(passed(&mut guard, trunk, Standing::Trunk, now), [8_000, 0, 12_000]);
    assert_eq!(guard.gate(b"BYE sip:box SIP/2.0\r\n\r\n", ip(trunk), Standing::Trunk, now), Gate::Pass);
    assert_eq!(guard.gate(b"SIP/2.0 200 OK\r\n\r\n", ip(trunk), Standing::Trunk, now), Gate::Pass);
    assert_eq!(passed(&mut guard, stranger, Standing::Hopeless, now), [200, 19_800, 0]);
    assert_eq!(passed(&mut guard, "198.51.200.8", Standing::Guest, now), [200, 19_780, 20]);
    assert_eq!(guard.gate(SCAN, ip("203.0.113.8"), Standing::Guest, now), Gate::Silence);
    assert_eq!(guard.gate(SCAN, ip(trunk), Standing::Trunk, now + Duration::from_secs(1)), Gate::Pass);
    guard.vouch(ip(friend), now);
    assert_eq!(passed(&mut guard, friend, Standing::Guest, now), [8_000, 0, 12_000]);
    let later = now + Duration::from_secs(600);
    assert_eq!(passed(&mut guard, friend, Standing::Guest, later)[0], 200, "forgotten");
}

#[test]
fn a_flood_of_forged_sources_leaves_the_trunk_alone() {
    let (start, mut guard) = (Instant::now(), Guard::new(1));
    let mut let_in = 0;
    for number in 0..200_000_u32 {
        let now = start + Duration::from_micros(u64::from(number) * 50);
        let forged = IpAddr::from(number.wrapping_mul(2_654_435_761).to_be_bytes());
        let_in += usize::from(guard.gate(ASK, forged, Standing::Guest, now) == Gate::Pass);
        if number % 2_000 == 0 {
            assert_eq!(guard.gate(ASK, ip("192.0.2.1"), Standing::Trunk, now), Gate::Pass);
        }
    }
    // Ten seconds at 20,000: a tenth of it is read at all.
    assert!((20_000..25_000).contains(&let_in), "{let_in}");
}
