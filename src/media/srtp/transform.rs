//! The cipher and the tag of one direction and plane: what a packet is sealed and opened with, given its index.
//!
//! ```text
//!  counter mode   header | ciphertext | [index] | [MKI] | tag      tag over all before the MKI, and the rollover counter
//!  GCM            header | ciphertext | tag | [index] | [MKI]      header and [index] are authenticated data
//! ```
//! `[index]` is the word of SRTCP.

use aes::cipher::KeyInit;
use aes::{Aes128, Aes256};
use ctr::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::derive::{Label, Plane, derived};
use super::{SrtpKey, Suite};

/// Octets of the longest tag.
pub const LONGEST_TAG: usize = 16;

pub enum Transform {
    Counter { cipher: Box<Counter>, salt: [u8; 14], mac: Box<Hmac<Sha1>>, tag: usize },
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12], plane: Plane },
}

pub enum Counter {
    Aes128(Aes128),
    Aes256(Aes256),
}

/// Which packet: everything that makes its keystream its own.
#[derive(Clone, Copy)]
pub struct Place {
    pub ssrc: u32,
    /// Rollover counter and sequence number (48 bits), or the SRTCP index (31 bits).
    pub index: u64,
    /// Rollover counter, or the word of the SRTCP index.
    pub word: [u8; 4],
}

impl Transform {
    /// `None` when the key has not the length of its suite.
    pub fn new(master: &SrtpKey, plane: Plane) -> Option<Transform> {
        let (key, salt) = master.parts()?;
        let derived = |label, length| derived(key, salt, plane, label, length);
        let session = derived(Label::Cipher, master.suite.key_length());
        let session_salt = derived(Label::Salt, master.suite.salt_length());
        if master.suite.is_aead() {
            return Transform::gcm(&session, &session_salt, plane);
        }
        // The short tag is for media only (RFC 4568 §6.2.2).
        let tag = if master.suite == Suite::AesCm128HmacSha1_32 && plane == Plane::Media { 4 } else { 10 };
        Transform::counter(&session, &session_salt, &derived(Label::Authentication, 20), tag)
    }

    pub fn counter(key: &[u8], salt: &[u8], mac: &[u8], tag: usize) -> Option<Transform> {
        let cipher = match key.len() {
            16 => Counter::Aes128(Aes128::new_from_slice(key).ok()?),
            _ => Counter::Aes256(Aes256::new_from_slice(key).ok()?),
        };
        let mac = Hmac::<Sha1>::new_from_slice(mac).ok()?;
        Some(Transform::Counter { cipher: Box::new(cipher), salt: *salt.first_chunk()?, mac: Box::new(mac), tag })
    }

    pub fn gcm(key: &[u8], salt: &[u8], plane: Plane) -> Option<Transform> {
        let algorithm = if key.len() == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
        Some(Transform::Gcm { key: Box::new(key), salt: *salt.first_chunk()?, plane })
    }

    /// Octets of the tag.
    pub fn tag(&self) -> usize {
        match self {
            Transform::Counter { tag, .. } => *tag,
            Transform::Gcm { .. } => LONGEST_TAG,
        }
    }

    /// Whether the tag stands at the very end, behind index and MKI.
    pub fn tag_is_last(&self) -> bool {
        matches!(self, Transform::Counter { .. })
    }

    /// Encrypts `packet` behind its first `clear` octets; returns the tag, of which [`Transform::tag`] octets count.
    pub fn seal(&self, place: Place, packet: &mut [u8], clear: usize) -> Option<[u8; LONGEST_TAG]> {
        match self {
            Transform::Counter { cipher, salt, mac, .. } => {
                cipher.apply(&counter_block(salt, place), packet.get_mut(clear..)?);
                Some(counter_tag(mac, packet, place))
            }
            Transform::Gcm { key, salt, plane } => {
                let (head, body) = packet.split_at_mut_checked(clear)?;
                let associated = Associated::new(head, place, *plane)?;
                let tag = key.seal_in_place_separate_tag(gcm_nonce(salt, place), Aad::from(associated.bytes()), body);
                tag.ok()?.as_ref().first_chunk().copied()
            }
        }
    }

    /// Decrypts `packet` behind its first `clear` octets when `tag` is right. When it is not, `false`, and GCM has spoilt
    /// the packet.
    pub fn open(&self, place: Place, packet: &mut [u8], clear: usize, tag: &[u8]) -> bool {
        self.try_open(place, packet, clear, tag).is_some()
    }

    fn try_open(&self, place: Place, packet: &mut [u8], clear: usize, tag: &[u8]) -> Option<()> {
        match self {
            Transform::Counter { cipher, salt, mac, tag: length } => {
                let expected = counter_tag(mac, packet, place);
                let right: bool = expected.get(..*length)?.ct_eq(tag).into();
                right.then(|| cipher.apply(&counter_block(salt, place), packet.get_mut(clear..).unwrap_or_default()))
            }
            Transform::Gcm { key, salt, plane } => {
                let (head, body) = packet.split_at_mut_checked(clear)?;
                let associated = Associated::new(head, place, *plane)?;
                let (nonce, tag) = (gcm_nonce(salt, place), Tag::try_from(tag).ok()?);
                key.open_in_place_separate_tag(nonce, Aad::from(associated.bytes()), tag, body, 0..).ok().map(|_| ())
            }
        }
    }
}

impl Counter {
    fn apply(&self, block: &[u8; 16], data: &mut [u8]) {
        match self {
            Counter::Aes128(cipher) => stream(cipher, block).apply_keystream(data),
            Counter::Aes256(cipher) => stream(cipher, block).apply_keystream(data),
        }
    }
}

type CounterStream<C> = StreamCipherCoreWrapper<ctr::CtrCore<C, ctr::flavors::Ctr128BE>>;

fn stream<C>(cipher: C, block: &[u8; 16]) -> CounterStream<C>
where
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    StreamCipherCoreWrapper::from_core(ctr::CtrCore::inner_iv_init(cipher, block.into()))
}

/// RFC 3711 §4.1.1: salt ⊕ SSRC ⊕ index, then a counter of 16 bits.
fn counter_block(salt: &[u8; 14], place: Place) -> [u8; 16] {
    let mut block = [0; 16];
    block[..14].copy_from_slice(salt);
    xor(&mut block[4..8], &place.ssrc.to_be_bytes());
    xor(&mut block[8..14], &place.index.to_be_bytes()[2..]);
    block
}

/// RFC 7714 §8.1, §9.1: two zero octets, SSRC, index; ⊕ salt.
fn gcm_nonce(salt: &[u8; 12], place: Place) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &place.ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &place.index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(nonce)
}

fn xor(target: &mut [u8], with: &[u8]) {
    target.iter_mut().zip(with).for_each(|(octet, with)| *octet ^= with);
}

fn counter_tag(mac: &Hmac<Sha1>, packet: &[u8], place: Place) -> [u8; LONGEST_TAG] {
    let digest = mac.clone().chain_update(packet).chain_update(place.word).finalize().into_bytes();
    let mut tag = [0; LONGEST_TAG];
    tag.copy_from_slice(&digest[..LONGEST_TAG]);
    tag
}

/// The authenticated data of GCM: the header as it is, for RTCP with the word of the index behind it.
struct Associated<'a> {
    media: &'a [u8],
    control: [u8; 12],
    plane: Plane,
}

impl<'a> Associated<'a> {
    fn new(head: &'a [u8], place: Place, plane: Plane) -> Option<Associated<'a>> {
        let mut control = [0; 12];
        if plane == Plane::Control {
            control[..8].copy_from_slice(head.get(..8)?);
            control[8..].copy_from_slice(&place.word);
        }
        Some(Associated { media: head, control, plane })
    }

    fn bytes(&self) -> &[u8] {
        match self.plane {
            Plane::Media => self.media,
            Plane::Control => &self.control,
        }
    }
}
