//! Datagrams of a stranger on an encrypted leg: none is taken, none harms what the peer sends in between.

use trunkline::clock::{Clock, UtcTime};
use trunkline::media::srtp::{Channel, TRAILER};
use trunkline::media::{SrtpKey, SrtpKeys, Suite};

const SUITES: [Suite; 5] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];
/// Datagrams that one input is cut into.
const MOST: usize = 16;

/// The first octet names the suite, the second how long the pieces are.
pub fn run(data: &[u8]) {
    let [suite, size, rest @ ..] = data else { return };
    let suite = SUITES[usize::from(*suite) % SUITES.len()];
    let key = |seed: u8| SrtpKey::new(suite, &vec![seed; suite.key_length() + suite.salt_length()], &[]);
    let ours = SrtpKeys { send: key(1), receive: key(2) };
    let theirs = SrtpKeys { send: key(2), receive: key(1) };
    let (mut box_side, mut peer) = (Channel::new(&ours), Channel::new(&theirs));
    let now = Clock::manual(UtcTime(0)).now();
    let mut sequence = 65_530_u16;
    for piece in rest.chunks(usize::from(*size).max(1)).take(MOST) {
        // A forgery passes once in 2^32 tries at best (the tag of 32 bits), which a fuzzer does not find by chance.
        assert!(box_side.open(&mut piece.to_vec(), now).is_err(), "a forged packet was taken");
        assert!(box_side.open_control(&mut piece.to_vec(), now).is_err(), "a forged report was taken");

        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend([0, 0, 0, 1, 9, 9, 9, 9]);
        packet.extend(piece);
        let length = packet.len();
        packet.resize(length + TRAILER, 0);
        let sealed = peer.protect(&mut packet, length).expect("room for the trailer");
        packet.truncate(sealed);
        let again = packet.clone();
        let opened = box_side.open(&mut packet, now).expect("the peer's own packet is taken");
        assert_eq!(&packet[12..opened], piece);
        assert!(box_side.open(&mut again.clone(), now).is_err(), "a repeated packet was taken");
        sequence = sequence.wrapping_add(1);
    }
}
