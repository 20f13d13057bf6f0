//! The tool sends to this machine only: it is no weapon. Every address is asked here before anything goes to it.

use std::net::{IpAddr, SocketAddr};

/// `address`, or why nothing is sent there; `what` names it.
pub fn only(what: &str, address: SocketAddr) -> Result<SocketAddr, String> {
    let here = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    };
    if here && address.port() != 0 {
        return Ok(address);
    }
    Err(format!(
        "{what} {address} is refused: load goes to loopback addresses (127.0.0.0/8, ::1) with a port and nowhere else"
    ))
}

/// Where a session description wants sound, which has to be here.
pub fn media(description: &str) -> Result<SocketAddr, String> {
    let address = |lines: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix("c=IN IP4 ").or(line.strip_prefix("c=IN IP6 ")))?;
        line.trim().parse::<IpAddr>().ok()
    };
    let (session, sound) = description.split_once("\nm=audio ").ok_or("an answer without a line of sound")?;
    let port = sound.split(' ').next().and_then(|port| port.parse().ok());
    // The line of the sound itself counts before that of the session (RFC 8866 §5.7).
    let own = sound.split_once("\nm=").map_or(sound, |(own, _)| own);
    let ip = address(own).or_else(|| address(session));
    let (Some(port), Some(ip)) = (port, ip) else { return Err("an answer without an address for sound".into()) };
    only("the address for sound in the answer,", SocketAddr::new(ip, port))
}
