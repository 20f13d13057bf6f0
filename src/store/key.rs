use uuid::Uuid;

use crate::clock::UtcTime;

/// Order-preserving bytes of a key. Implemented for `Uuid`, `u64`, `i64`, [`UtcTime`], `String`, `[u8; 32]`, `()` and
/// tuples of two or three of them.
///
/// Numbers are big-endian with the sign bit turned over. A string ends with two zero bytes, and a zero byte within it is
/// followed by 255, so that any string may stand anywhere in a tuple and a shorter one sorts before its continuations.
pub trait Key: Sized + Clone + Send + 'static {
    fn encode(&self, out: &mut Vec<u8>);
    /// `None` when the bytes are not of this key; advances `bytes`.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// A key that is the beginning of keys `K`: the first, or the first two, of a tuple.
pub trait PrefixOf<K>: Key {}

impl<A: Key, B: Key> PrefixOf<(A, B)> for A {}
impl<A: Key, B: Key, C: Key> PrefixOf<(A, B, C)> for A {}
impl<A: Key, B: Key, C: Key> PrefixOf<(A, B, C)> for (A, B) {}

const SIGN: u64 = 1 << 63;
const ESCAPED_ZERO: u8 = 0xFF;

impl Key for () {
    fn encode(&self, _out: &mut Vec<u8>) {}

    fn decode(_bytes: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Key for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(u64::from_be_bytes)
    }
}

impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ SIGN).encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        u64::decode(bytes).map(|value| (value ^ SIGN).cast_signed())
    }
}

impl Key for UtcTime {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        i64::decode(bytes).map(UtcTime)
    }
}

impl Key for Uuid {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Uuid::from_bytes)
    }
}

impl Key for [u8; 32] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes)
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        for byte in self.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(ESCAPED_ZERO);
            }
        }
        out.extend_from_slice(&[0, 0]);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let mut text = Vec::new();
        loop {
            match **bytes {
                [0, 0, ref rest @ ..] => {
                    *bytes = rest;
                    return String::from_utf8(text).ok();
                }
                [0, ESCAPED_ZERO, ref rest @ ..] => {
                    text.push(0);
                    *bytes = rest;
                }
                [0, ..] | [] => return None,
                [byte, ref rest @ ..] => {
                    text.push(byte);
                    *bytes = rest;
                }
            }
        }
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::table::{Bounds, as_slices, encode_key, prefix_bounds};
    use proptest::prelude::*;
    use std::ops::RangeBounds;

    fn decoded<K: Key>(key: &K) -> Option<K> {
        let bytes = encode_key(key);
        let mut rest = bytes.as_slice();
        let key = K::decode(&mut rest)?;
        rest.is_empty().then_some(key)
    }

    // Short strings over few characters, the zero byte among them: neighbours that share prefixes are what breaks.
    fn string() -> impl Strategy<Value = String> {
        "[\u{0}\u{1}ab\u{ff}\u{10ffff}]{0,4}"
    }

    fn holds(bounds: &Bounds, key: &[u8]) -> bool {
        RangeBounds::<[u8]>::contains(&as_slices(bounds), key)
    }

    proptest! {
        #[test]
        fn keys_order_like_their_tuples(
            a in (string(), any::<i64>(), string()), b in (string(), any::<i64>(), string()),
            c in (-2i64..2, string()), d in (-2i64..2, string()),
            e in (string(), any::<u64>()), f in (string(), any::<u64>()),
        ) {
            prop_assert_eq!(a.cmp(&b), encode_key(&a).cmp(&encode_key(&b)));
            prop_assert_eq!(c.cmp(&d), encode_key(&c).cmp(&encode_key(&d)));
            prop_assert_eq!(e.cmp(&f), encode_key(&e).cmp(&encode_key(&f)));
        }

        #[test]
        fn equal_first_parts_order_by_the_later_ones(first in string(), x in any::<i64>(), y in any::<i64>()) {
            let (a, b) = ((first.clone(), UtcTime(x)), (first, UtcTime(y)));
            prop_assert_eq!(a.cmp(&b), encode_key(&a).cmp(&encode_key(&b)));
        }

        #[test]
        fn a_key_reads_back(a in string(), b in any::<i64>(), c in any::<[u8; 32]>(), d in any::<u128>()) {
            let key = (a, b, c);
            prop_assert_eq!(decoded(&key), Some(key));
            let key = (Uuid::from_u128(d), ());
            prop_assert_eq!(decoded(&key), Some(key));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = <(String, u64, Uuid)>::decode(&mut bytes.as_slice());
            let _ = <(UtcTime, String)>::decode(&mut bytes.as_slice());
        }

        #[test]
        fn a_prefix_holds_its_keys_and_no_other(a in string(), b in string(), c in any::<u64>()) {
            let bounds = prefix_bounds::<(String, u64), String>(&a);
            let key = encode_key(&(b.clone(), c));
            prop_assert_eq!(holds(&bounds, &key), a == b);
        }
    }

    #[test]
    fn a_prefix_of_all_ones_has_no_end() {
        let bounds = prefix_bounds::<(u64, u64), u64>(&u64::MAX);
        assert!(holds(&bounds, &encode_key(&(u64::MAX, u64::MAX))));
    }
}
