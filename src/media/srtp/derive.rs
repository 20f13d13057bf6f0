//! Session keys from a master key (RFC 3711 §4.3, key derivation rate 0; RFC 6188 for 256 bits, RFC 7714 §11 for GCM).

use aes::{Aes128, Aes256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

/// What a session key is for (RFC 3711 §4.3.1); RTCP adds 3.
#[derive(Clone, Copy)]
pub enum Label {
    Cipher = 0,
    Authentication = 1,
    Salt = 2,
}

/// Whether the keys are for RTP or for RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    Media,
    Control,
}

/// Fills `out` with the session key of that label.
pub fn derive(key: &[u8], salt: &[u8], plane: Plane, label: Label, out: &mut [u8]) {
    let mut block = [0u8; 16];
    // The salt of the GCM suites is two octets short; they count as zero.
    for (octet, salt) in block.iter_mut().zip(salt.iter().take(14)) {
        *octet = *salt;
    }
    block[7] ^= label as u8 + if plane == Plane::Control { 3 } else { 0 };
    out.fill(0);
    keystream(key, &block, out);
}

/// XORs the counter-mode keystream over `data`; a key of another length than 16 or 32 leaves nothing legible.
pub fn keystream(key: &[u8], block: &[u8; 16], data: &mut [u8]) {
    if let Ok(mut cipher) = Ctr128BE::<Aes128>::new_from_slices(key, block) {
        cipher.apply_keystream(data);
    } else if let Ok(mut cipher) = Ctr128BE::<Aes256>::new_from_slices(key, block) {
        cipher.apply_keystream(data);
    } else {
        data.fill(0);
    }
}

/// A derived key of `length` octets.
pub fn derived(key: &[u8], salt: &[u8], plane: Plane, label: Label, length: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(vec![0; length]);
    derive(key, salt, plane, label, &mut out);
    out
}
