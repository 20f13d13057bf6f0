//! What the network of the faults does to packets.

use std::time::Duration;

use super::faults::*;

const FRAME: Duration = Duration::from_millis(20);

fn run(network: Network, call: u32) -> Vec<[Option<Duration>; 2]> {
    let mut faults = Faults::new(network, call);
    (0..20_000).map(|frame| faults.pass(FRAME * frame)).collect()
}

#[test]
fn without_faults_each_packet_leaves_when_it_is_sent() {
    for (frame, copies) in run(Network { seed: 9, ..Network::default() }, 3).into_iter().enumerate() {
        assert_eq!(copies, [Some(FRAME * frame as u32), None]);
    }
}

#[test]
fn shares_are_as_asked_and_the_seed_decides_them() {
    let network = Network { loss: 3.0, duplicate: 1.0, seed: 1, ..Network::default() };
    let first = run(network, 0);
    let lost = first.iter().filter(|copies| copies[0].is_none()).count();
    let doubled = first.iter().filter(|copies| copies[1].is_some()).count();
    assert!((500..700).contains(&lost), "{lost}");
    assert!((150..250).contains(&doubled), "{doubled}");
    assert_eq!(first, run(network, 0));
    assert_ne!(first, run(network, 1));
    assert_ne!(first, run(Network { seed: 2, ..network }, 0));
}

#[test]
fn jitter_delays_within_its_bound_and_keeps_the_order() {
    let jitter = Duration::from_millis(60);
    let leaves: Vec<Duration> =
        run(Network { jitter, seed: 4, ..Network::default() }, 0).into_iter().filter_map(|copies| copies[0]).collect();
    assert!(leaves.is_sorted());
    let delays: Vec<Duration> =
        leaves.iter().enumerate().map(|(frame, leaves)| *leaves - FRAME * frame as u32).collect();
    assert!(delays.iter().all(|delay| *delay < jitter));
    assert!(delays.iter().any(|delay| *delay > jitter.mul_f64(0.9)));
}

#[test]
fn a_packet_that_is_overtaken_leaves_after_the_next() {
    let copies = run(Network { reorder: 1.0, seed: 5, ..Network::default() }, 0);
    let overtaken = copies.windows(2).filter(|pair| pair[0][0] > pair[1][0]).count();
    assert!((150..250).contains(&overtaken), "{overtaken}");
}
