//! The STUN that keeps a NAT open on the SIP port (RFC 5626 §3.5.2, RFC 8489 §6): a binding request is told where it came
//! from. Nothing else of STUN is spoken.

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
const COOKIE: [u8; 4] = 0x2112_A442_u32.to_be_bytes();
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const BINDING_ERROR: [u8; 2] = [0x01, 0x11];
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const FINGERPRINT: u16 = 0x8028;
/// Attributes of authentication, which this use has none of: they are understood and passed over.
const UNDERSTOOD: [u16; 6] = [0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x001E];
/// Unknown attributes that an answer lists.
const MOST_LISTED: usize = 8;

/// Whether these bytes are STUN and no SIP: the first two bits are zero and the cookie stands in its place.
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 0x40) && datagram.get(4..8) == Some(&COOKIE)
}

/// The answer to a binding request; `None` when it is none, or damaged.
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    if !is_stun(datagram) || datagram.get(..2)? != BINDING_REQUEST {
        return None;
    }
    let length = u16::from_be_bytes(datagram.get(2..4)?.try_into().ok()?);
    if datagram.len() != HEADER + usize::from(length) || length % 4 != 0 {
        return None;
    }
    let transaction = datagram.get(4..HEADER)?;
    let unknown = unknown_attributes(datagram)?;
    let (kind, attributes) = if unknown.is_empty() {
        (BINDING_SUCCESS, mapped_address(source, transaction))
    } else {
        (BINDING_ERROR, unknown_attribute_error(&unknown))
    };
    let mut answer = kind.to_vec();
    answer.extend(u16::try_from(attributes.len()).ok()?.to_be_bytes());
    answer.extend(transaction);
    answer.extend(attributes);
    Some(answer)
}

/// Attributes that must be understood and are not; `None` when the list is damaged or its fingerprint wrong.
fn unknown_attributes(datagram: &[u8]) -> Option<Vec<u16>> {
    let (mut at, mut unknown) = (HEADER, Vec::new());
    while at < datagram.len() {
        let kind = u16::from_be_bytes(datagram.get(at..at + 2)?.try_into().ok()?);
        let length = usize::from(u16::from_be_bytes(datagram.get(at + 2..at + 4)?.try_into().ok()?));
        let value = datagram.get(at + 4..at + 4 + length)?;
        if kind == FINGERPRINT {
            let right = crc32(datagram.get(..at)?) ^ 0x5354_554E;
            return (value == right.to_be_bytes() && at + 8 == datagram.len()).then_some(unknown);
        }
        if kind < 0x8000 && !UNDERSTOOD.contains(&kind) && unknown.len() < MOST_LISTED {
            unknown.push(kind);
        }
        at += 4 + length.next_multiple_of(4);
    }
    Some(unknown)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// RFC 8489 §14.2: the port is masked by the cookie, the address by cookie and transaction id.
fn mapped_address(source: SocketAddr, transaction: &[u8]) -> Vec<u8> {
    let (family, octets) = match source.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let masked = |bytes: &[u8]| bytes.iter().zip(transaction).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>();
    let mut value = vec![0, family];
    value.extend(masked(&source.port().to_be_bytes()));
    value.extend(masked(&octets));
    attribute(XOR_MAPPED_ADDRESS, &value)
}

/// 420 with the list (RFC 8489 §14.8, §14.13).
fn unknown_attribute_error(unknown: &[u16]) -> Vec<u8> {
    let mut bytes = attribute(ERROR_CODE, b"\0\0\x04\x14Unknown Attribute");
    bytes.extend(attribute(
        UNKNOWN_ATTRIBUTES,
        &unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect::<Vec<u8>>(),
    ));
    bytes
}

/// ITU V.42, as RFC 8489 §14.7 wants it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 5769 §2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY and FINGERPRINT.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
         80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2\
         80280004e57a3bcf";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&[0, 1], &length[..], &COOKIE, &[7; 12], attributes].concat()
    }

    #[test]
    fn a_binding_request_is_told_where_it_came_from() {
        // RFC 5769 §2.2 and §2.3 mask these addresses with the transaction id of the sample.
        let plain = [&[0, 1, 0, 0], &bytes("2112a442b7e7a701bc34d686fa87dfae")[..]].concat();
        let v4 = answer(&plain, "192.0.2.1:32853".parse().unwrap()).expect("answered");
        assert_eq!(v4, bytes("0101000c2112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643"));
        let v6 = answer(&plain, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()).expect("answered");
        assert_eq!(v6[20..], bytes("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"));
    }

    #[test]
    fn the_fingerprint_of_the_rfcs_sample_is_right_and_a_damaged_one_is_dropped() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let sample = bytes(SAMPLE);
        // PRIORITY belongs to ICE and must be understood: 420 that lists it.
        let refusal = answer(&sample, source).expect("answered");
        assert_eq!(refusal[..2], BINDING_ERROR);
        assert!(refusal.windows(6).any(|window| window == [0, 0x0A, 0, 2, 0, 0x24]));
        let mut damaged = sample;
        damaged[30] ^= 1;
        assert_eq!(answer(&damaged, source), None);
    }

    #[test]
    fn nothing_else_is_answered() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let good = request(&[]);
        assert!(answer(&good, source).is_some());
        let with = |at: usize, byte: u8| {
            let mut other = good.clone();
            other[at] = byte;
            answer(&other, source)
        };
        assert_eq!([with(0, 0x41), with(1, 2), with(3, 4), with(4, 0)], [None, None, None, None]);
        assert_eq!(answer(&good[..19], source), None);
        assert_eq!(answer(&request(&[0, 6, 0, 9, 1, 2, 3, 4]), source), None, "an attribute beyond the end");
        assert!(!is_stun(b"OPTIONS sip:a@b SIP/2.0\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_no_answer_is_large(attributes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let answered = answer(&request(&attributes), "[2001:db8::1]:1".parse().unwrap());
            prop_assert!(answered.is_none_or(|bytes| bytes.len() <= 72));
        }
    }
}
