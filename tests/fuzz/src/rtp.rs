//! A datagram on an RTP port.

use trunkline::media::rtp::Packet;

pub fn run(data: &[u8]) {
    let Ok(packet) = Packet::read(data) else { return };
    let mut buffer = [0; 65_536];
    let Some(length) = packet.write(&mut buffer) else { return };
    assert_eq!(Packet::read(&buffer[..length]), Ok(packet));
}
