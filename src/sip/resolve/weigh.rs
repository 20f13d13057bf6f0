//! The order in which servers are tried: by rank, and among equals by weight (RFC 2782). Randomness comes in.

use std::net::SocketAddr;

use super::plan::Site;
use crate::sip::transport::Transport;

/// One server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Server {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// Every server of the sites, each once, best first; `random` gives numbers over its whole range.
pub fn in_order(sites: &[Site], random: &mut dyn FnMut() -> u64) -> Vec<Server> {
    let mut servers = Vec::new();
    for site in shuffled(sites, |site| (site.rank, site.weight), random) {
        for address in &site.addresses {
            let server = Server { transport: site.transport, address: *address };
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
    }
    servers
}

/// Items by rank, those of one rank drawn by weight (RFC 2782, "Weight").
pub fn shuffled<'a, T, R: Ord + Copy>(
    items: &'a [T],
    rank_and_weight: impl Fn(&T) -> (R, u16),
    random: &mut dyn FnMut() -> u64,
) -> Vec<&'a T> {
    let mut left: Vec<&T> = items.iter().collect();
    // Those of weight 0 stand in front, so that they have a small chance.
    left.sort_by_key(|item| (rank_and_weight(item).0, rank_and_weight(item).1 > 0));
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(first) = left.first() {
        let rank = rank_and_weight(first).0;
        let equals = left.iter().take_while(|item| rank_and_weight(item).0 == rank).count();
        let weights = || left.iter().take(equals).map(|item| u64::from(rank_and_weight(item).1));
        let total: u64 = weights().sum();
        let draw = random() % (total + 1);
        let mut sum = 0;
        let chosen = weights().position(|weight| {
            sum += weight;
            sum >= draw
        });
        ordered.push(left.remove(chosen.unwrap_or_default()));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small generator that is the same every time (SplitMix64).
    fn numbers() -> impl FnMut() -> u64 {
        let mut state = 42_u64;
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }

    fn site(rank: u32, weight: u16, address: &str) -> Site {
        Site { transport: Transport::Udp, rank, weight, addresses: vec![address.parse().expect("address")] }
    }

    #[test]
    fn a_better_rank_always_comes_first() {
        let sites = [site(2, 100, "192.0.2.2:1"), site(1, 1, "192.0.2.1:1"), site(1, 0, "192.0.2.3:1")];
        let mut random = numbers();
        for _ in 0..100 {
            assert_eq!(in_order(&sites, &mut random).last().map(|server| server.address), Some(sites[0].addresses[0]));
        }
    }

    #[test]
    fn calls_are_shared_as_the_weights_say() {
        let sites = [site(1, 10, "192.0.2.1:1"), site(1, 30, "192.0.2.2:1"), site(1, 60, "192.0.2.3:1")];
        let mut random = numbers();
        let mut first = [0_u32; 3];
        for _ in 0..10_000 {
            let order = in_order(&sites, &mut random);
            assert_eq!(order.len(), 3, "every server is there once");
            let at = sites.iter().position(|site| site.addresses[0] == order[0].address).expect("one of them");
            first[at] += 1;
        }
        for (count, share) in first.iter().zip([1_000_i64, 3_000, 6_000]) {
            assert!((i64::from(*count) - share).abs() < 250, "{first:?}");
        }
    }

    #[test]
    fn weight_0_has_a_small_chance_and_one_address_comes_once() {
        let sites = [site(1, 0, "192.0.2.1:1"), site(1, 99, "192.0.2.2:1"), site(2, 0, "192.0.2.2:1")];
        let mut random = numbers();
        let firsts = (0..10_000).filter(|_| in_order(&sites, &mut random)[0].address == sites[0].addresses[0]).count();
        assert!((20..400).contains(&firsts), "{firsts}");
        assert_eq!(in_order(&sites, &mut random).len(), 2);
    }
}
