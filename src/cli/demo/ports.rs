//! Free UDP ports on loopback.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Below the range from which Linux takes ports for outgoing sockets, so that nothing steps in between.
const FIRST: u16 = 16_000;
const LAST: u16 = 32_000;
/// Ports in a range: more calls than a demo holds.
const COUNT: u16 = 64;

/// A range that begins even and was free a moment ago, `skip` ranges after the first such.
pub(super) fn free_ranges<const N: usize>() -> Result<[[u16; 2]; N], String> {
    let start = FIRST + (std::process::id() as u16 % 97) * COUNT;
    let mut candidates =
        (start..LAST - COUNT).chain(FIRST..start).step_by(usize::from(COUNT)).filter(|first| free(*first));
    let mut ranges = [[0; 2]; N];
    for range in &mut ranges {
        let first = candidates.next().ok_or("no free UDP ports for RTP on this machine")?;
        *range = [first, first + COUNT - 1];
    }
    Ok(ranges)
}

fn free(first: u16) -> bool {
    (first..first + COUNT).all(|port| UdpSocket::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), port)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_even_apart_and_avoid_what_is_taken() {
        let [first, second]: [[u16; 2]; 2] = free_ranges().expect("free ports");
        assert!(first[0] % 2 == 0 && second[0] % 2 == 0 && first[1] < second[0] || second[1] < first[0]);
        let taken = UdpSocket::bind(("127.0.0.1", first[0] + 3)).expect("it was free");
        let [next]: [[u16; 2]; 1] = free_ranges().expect("free ports");
        assert!(!(next[0]..=next[1]).contains(&taken.local_addr().expect("bound").port()));
    }
}
