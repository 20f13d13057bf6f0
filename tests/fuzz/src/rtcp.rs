//! A datagram on an RTCP port: its first four octets stand for our SSRC.

use trunkline::media::rtcp::{read, round_trip};

pub fn run(data: &[u8]) {
    let Some((ssrc, rest)) = data.split_first_chunk::<4>() else { return };
    let Some(heard) = read(rest, u32::from_be_bytes(*ssrc)) else { return };
    if let Some(block) = heard.about_us {
        assert_eq!(block.ssrc, u32::from_be_bytes(*ssrc));
        let _ = round_trip(block, u64::from(block.last_report) << 16);
    }
}
