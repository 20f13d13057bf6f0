//! Published vectors, and what strangers, losses and changes of keys do to a channel.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use proptest::prelude::*;

use super::derive::{Label, Plane, derive, keystream};
use super::inbound::OVERLAP;
use super::transform::{Place, Transform};
use super::*;

const SUITES: [Suite; 5] = [
    Suite::AesCm128HmacSha1_80,
    Suite::AesCm128HmacSha1_32,
    Suite::AesCm256HmacSha1_80,
    Suite::AeadAes128Gcm,
    Suite::AeadAes256Gcm,
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn key(suite: Suite, seed: u8) -> SrtpKey {
    let length = suite.key_length() + suite.salt_length();
    let secret: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    SrtpKey::new(suite, &secret, &[])
}

fn keys(suite: Suite, send: u8, receive: u8) -> SrtpKeys {
    SrtpKeys { send: key(suite, send), receive: key(suite, receive) }
}

fn pair(suite: Suite) -> (Channel, Channel) {
    (Channel::new(&keys(suite, 1, 2)), Channel::new(&keys(suite, 2, 1)))
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|at| at as u8 ^ sequence as u8));
    packet
}

fn sealed(channel: &mut Channel, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TRAILER, 0);
    let length = channel.protect(&mut buffer, packet.len()).expect("room");
    buffer.truncate(length);
    buffer
}

fn opened(channel: &mut Channel, datagram: &[u8], now: Instant) -> Result<Vec<u8>, Refused> {
    let mut buffer = datagram.to_vec();
    let length = channel.open(&mut buffer, now)?;
    buffer.truncate(length);
    Ok(buffer)
}

#[test]
fn counter_mode_makes_the_keystream_of_rfc_3711_b2() {
    let mut block = [0; 16];
    block.copy_from_slice(&hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"));
    let mut stream = vec![0; 0xFF02 * 16];
    keystream(&hex("2B7E151628AED2A6ABF7158809CF4F3C"), &block, &mut stream);
    let expected =
        hex("E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0");
    assert_eq!(stream[..48], expected);
    let far = hex("EC8CDF7398607CB0F2D21675EA9EA1E4 362B7C3C6773516318A077D7FC5073AE 6A2CC3787889374FBEB4C81B17BA6C44");
    assert_eq!(stream[0xFEFF * 16..][..48], far);
}

#[test]
fn session_keys_are_those_of_rfc_3711_b3_and_rfc_6188_7() {
    let check = |key: &str, salt: &str, [cipher, salted, tag]: [&str; 3]| {
        for (label, expected) in [(Label::Cipher, cipher), (Label::Salt, salted), (Label::Authentication, tag)] {
            let mut out = vec![0; hex(expected).len()];
            derive(&hex(key), &hex(salt), Plane::Media, label, &mut out);
            assert_eq!(out, hex(expected));
        }
    };
    check(
        "E1F97A0D3E018BE0D64FA32C06DE4139",
        "0EC675AD498AFEEBB6960B3AABE6",
        [
            "C61E7A93744F39EE10734AFE3FF7A087",
            "30CBBC08863D8C85D49DB34A9AE1",
            "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
        ],
    );
    check(
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
        [
            "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4",
            "fa31791685ca444a9e07c6c64e93",
            "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05",
        ],
    );
}

/// Whole packets as libsrtp, the reference of RFC 3711's authors, makes them from the same master key.
#[test]
fn whole_packets_are_those_of_the_reference() {
    let master = hex("e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6");
    let key = SrtpKey::new(Suite::AesCm128HmacSha1_80, &master, &[]);
    let mut channel = Channel::new(&SrtpKeys { send: key.clone(), receive: key });
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let wire = hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    assert_eq!(sealed(&mut channel, &plain), wire);
    assert_eq!(opened(&mut channel, &wire, Instant::now()), Ok(plain));
    let report = hex("81c8000bcafebabe abababababababababababababababab");
    let wire = hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
    let mut buffer = report.clone();
    buffer.resize(report.len() + TRAILER, 0);
    let length = channel.protect_control(&mut buffer, report.len()).expect("room");
    assert_eq!(buffer[..length], wire);
    let length = channel.open_control(&mut buffer[..length], Instant::now()).expect("authentic");
    assert_eq!(buffer[..length], report);
}

#[test]
fn gcm_makes_the_packets_of_rfc_7714() {
    let text = hex("47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573");
    let header = hex("8040f17b8041f8d35501a0b2");
    let (key, salt) =
        (hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"), hex("517569642070726f2071756f"));
    let place = Place { ssrc: 0x5501_a0b2, index: 0xf17b, word: [0; 4] };
    for (key, expected) in [
        (
            &key[..16],
            "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833 899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            &key[..],
            "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b 7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        let transform = Transform::gcm(key, &salt, Plane::Media).expect("right length");
        let mut packet = [header.clone(), text.clone()].concat();
        let tag = transform.seal(place, &mut packet, 12).expect("room");
        assert_eq!([&packet[12..], &tag].concat(), hex(expected));
        assert!(transform.open(place, &mut packet, 12, &tag));
        assert_eq!(packet[12..], text);
    }
    let report = hex(
        "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    );
    let expected = hex(
        "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa458 96cf4d2fc5abf87245d9eade",
    );
    let transform = Transform::gcm(&key[..16], &salt, Plane::Control).expect("right length");
    let mut packet = report.clone();
    let place = Place { ssrc: 0x4d61_7273, index: 0x5d4, word: 0x8000_05d4_u32.to_be_bytes() };
    let tag = transform.seal(place, &mut packet, RTCP_HEADER).expect("room");
    assert_eq!([&packet[8..], &tag].concat()[..expected.len()], expected);
}

#[test]
fn every_suite_carries_packets_and_reports_both_ways() {
    let now = Instant::now();
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        for sequence in [65_534, 65_535, 0, 1] {
            let plain = packet(sequence, 7);
            let wire = sealed(&mut a, &plain);
            assert_ne!(wire[12..20], plain[12..20], "{suite:?}");
            assert_eq!(opened(&mut b, &wire, now), Ok(plain.clone()), "{suite:?} {sequence}");
            assert_eq!(opened(&mut a, &sealed(&mut b, &plain), now), Ok(plain));
        }
        let report = [vec![0x81, 200, 0, 1, 0, 0, 0, 7], vec![9; 20]].concat();
        for _ in 0..2 {
            let mut buffer = [0; 64];
            buffer[..28].copy_from_slice(&report);
            let length = a.protect_control(&mut buffer, 28).expect("room");
            let mut again = buffer;
            assert_eq!(b.open_control(&mut buffer[..length], now), Ok(28), "{suite:?}");
            assert_eq!(buffer[..28], report);
            assert_eq!(b.open_control(&mut again[..length], now), Err(Refused::Replayed));
            again[length - 1] ^= 1;
            assert!(b.open_control(&mut again[..length], now).is_err());
        }
    }
}

#[test]
fn what_is_forged_replayed_or_cut_is_refused_and_changes_nothing() {
    let now = Instant::now();
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let wires: Vec<Vec<u8>> = (0..20).map(|n| sealed(&mut a, &packet(1_000 + n, 7))).collect();
        assert!(opened(&mut b, &wires[0], now).is_ok());
        for at in 0..wires[1].len() {
            let mut forged = wires[1].clone();
            forged[at] ^= 0x20;
            assert!(opened(&mut b, &forged, now).is_err(), "{suite:?}: octet {at}");
        }
        for length in 0..wires[1].len() {
            assert!(opened(&mut b, &wires[1][..length], now).is_err(), "{suite:?}: {length} octets");
        }
        let mut stranger = Channel::new(&keys(suite, 9, 9));
        let theirs = sealed(&mut stranger, &packet(30_000, 7));
        assert_eq!(opened(&mut b, &theirs, now), Err(Refused::Unauthentic));
        // Out of order, and each once.
        for wire in wires[1..].iter().rev() {
            assert!(opened(&mut b, wire, now).is_ok(), "{suite:?}");
            assert_eq!(opened(&mut b, wire, now), Err(Refused::Replayed), "{suite:?}");
        }
    }
}

#[test]
fn strangers_make_nothing_grow_and_many_sources_push_out_the_oldest() {
    let now = Instant::now();
    let (mut a, mut b) = pair(Suite::AesCm128HmacSha1_80);
    let mut stranger = Channel::new(&keys(Suite::AesCm128HmacSha1_80, 9, 9));
    for ssrc in 0..100 {
        assert!(opened(&mut b, &sealed(&mut stranger, &packet(1, ssrc)), now).is_err());
    }
    assert_eq!(b.inbound.sources(), 0);
    for ssrc in 0..100 {
        assert!(opened(&mut b, &sealed(&mut a, &packet(1, ssrc)), now).is_ok());
    }
    assert_eq!(b.inbound.sources(), 8);
}

#[test]
fn the_rollover_counter_is_followed_through_loss() {
    let now = Instant::now();
    let (mut a, mut b) = pair(Suite::AesCm128HmacSha1_32);
    let mut heard = 0;
    for n in 0..200_000u32 {
        let wire = sealed(&mut a, &packet((n % 65_536) as u16, 7));
        if n % 10_000 > 9_000 {
            continue;
        }
        heard += u32::from(opened(&mut b, &wire, now).is_ok());
    }
    assert_eq!(heard, 200_000 - 20 * 999);
}

#[test]
fn a_change_of_keys_leaves_no_gap_and_the_former_key_ends() {
    for suite in SUITES {
        let now = Instant::now();
        let (mut a, mut b) = pair(suite);
        assert!(opened(&mut b, &sealed(&mut a, &packet(10, 7)), now).is_ok());
        let on_its_way = sealed(&mut a, &packet(11, 7));
        let late = sealed(&mut a, &packet(12, 7));
        assert_eq!(b.change(&keys(suite, 2, 5), now), Change::GoOn);
        assert_eq!(a.change(&keys(suite, 5, 2), now), Change::GoOn);
        let fresh = sealed(&mut a, &packet(13, 7));
        assert!(opened(&mut b, &fresh, now).is_ok(), "{suite:?}");
        assert!(opened(&mut b, &on_its_way, now).is_ok(), "{suite:?}");
        assert_eq!(opened(&mut b, &on_its_way, now), Err(Refused::Replayed));
        assert!(opened(&mut b, &late, now + OVERLAP).is_err(), "{suite:?}");
        assert!(opened(&mut b, &sealed(&mut a, &packet(14, 7)), now + OVERLAP).is_ok());
    }
}

#[test]
fn after_a_change_the_rollover_counter_may_go_on_or_begin_anew() {
    let now = Instant::now();
    for suite in SUITES {
        let roll = |a: &mut Channel, b: &mut Channel| {
            for n in [65_000, 65_535, 200] {
                assert!(opened(b, &sealed(a, &packet(n, 7)), now).is_ok(), "{suite:?}");
            }
        };
        let (mut a, mut b) = pair(suite);
        roll(&mut a, &mut b);
        b.change(&keys(suite, 2, 5), now);
        // Ours goes on, and tells its owner that others may not.
        assert_eq!(a.change(&keys(suite, 5, 2), now), Change::NewSource);
        assert!(opened(&mut b, &sealed(&mut a, &packet(201, 7)), now).is_ok(), "{suite:?}: goes on");
        let (mut a, mut b) = pair(suite);
        roll(&mut a, &mut b);
        b.change(&keys(suite, 2, 5), now);
        let mut fresh = Channel::new(&keys(suite, 5, 2));
        for n in 201..210 {
            assert!(opened(&mut b, &sealed(&mut fresh, &packet(n, 7)), now).is_ok(), "{suite:?}: anew");
        }
    }
}

#[test]
fn the_same_keys_again_change_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = pair(Suite::AeadAes128Gcm);
    let wire = sealed(&mut a, &packet(1, 7));
    assert!(opened(&mut b, &wire, now).is_ok());
    assert_eq!(b.change(&keys(Suite::AeadAes128Gcm, 2, 1), now), Change::GoOn);
    assert_eq!(opened(&mut b, &wire, now), Err(Refused::Replayed));
}

#[test]
fn a_key_identifier_is_asked_for_and_cut_off() {
    let now = Instant::now();
    for suite in SUITES {
        let length = suite.key_length() + suite.salt_length();
        let with = |mki: &[u8]| SrtpKey::new(suite, &vec![3; length], mki);
        let mut a = Channel::new(&SrtpKeys { send: with(&[0, 1]), receive: with(&[]) });
        let mut b = Channel::new(&SrtpKeys { send: with(&[]), receive: with(&[0, 1]) });
        let mut c = Channel::new(&SrtpKeys { send: with(&[]), receive: with(&[0, 2]) });
        let plain = packet(5, 7);
        let wire = sealed(&mut a, &plain);
        assert_eq!(opened(&mut c, &wire, now), Err(Refused::Unauthentic));
        assert_eq!(opened(&mut b, &wire, now), Ok(plain), "{suite:?}");
    }
}

#[test]
fn header_extensions_stay_in_the_clear() {
    let now = Instant::now();
    for suite in SUITES {
        let (mut a, mut b) = pair(suite);
        let mut plain = hex("91 00 0001 00000000 00000007 00000009 BEDE0001 10AA0000");
        plain.extend([0x55; 40]);
        let wire = sealed(&mut a, &plain);
        assert_eq!(wire[..24], plain[..24]);
        assert_ne!(wire[24..40], plain[24..40]);
        assert_eq!(opened(&mut b, &wire, now), Ok(plain));
    }
}

#[test]
fn keys_show_themselves_nowhere() {
    let keys = keys(Suite::AesCm128HmacSha1_80, 1, 2);
    assert_eq!(format!("{:?}", keys.send), "SrtpKey(AesCm128HmacSha1_80, …)");
}

#[test]
fn under_a_key_of_the_wrong_length_nothing_is_sent_and_nothing_heard() {
    let short = SrtpKey::new(Suite::AeadAes128Gcm, &[0; 30], &[]);
    let mut channel = Channel::new(&SrtpKeys { send: short.clone(), receive: short });
    let mut buffer = packet(1, 7);
    let length = buffer.len();
    buffer.resize(length + TRAILER, 0);
    assert_eq!(channel.protect(&mut buffer, length), None);
    assert_eq!(channel.open(&mut buffer, Instant::now()), Err(Refused::Unauthentic));
}

#[test]
fn a_used_up_key_protects_nothing_more() {
    let key = key(Suite::AesCm128HmacSha1_80, 1);
    let mut outbound = Outbound::new(&key);
    outbound.last_index(7, (1 << 48) - 1);
    let mut buffer = packet(0, 7);
    let length = buffer.len();
    buffer.resize(length + TRAILER, 0);
    assert_eq!(outbound.protect(&mut buffer, length), None);
}

proptest! {
    #[test]
    fn no_datagram_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), first in 0x80u8..0xA0, suite in 0usize..5) {
        let now = Instant::now();
        let mut channel = Channel::new(&keys(SUITES[suite], 1, 2));
        channel.change(&keys(SUITES[suite], 3, 4), now);
        let mut bytes = bytes;
        if let Some(octet) = bytes.first_mut() { *octet = first; }
        prop_assert!(channel.open(&mut bytes.clone(), now).is_err());
        prop_assert!(channel.open_control(&mut bytes.clone(), now + Duration::from_secs(9)).is_err());
        let length = bytes.len();
        let _ = channel.protect(&mut bytes, length);
        let _ = channel.protect_control(&mut bytes, length.saturating_sub(7));
    }
}
