//! Session descriptions of SIP in the media room's terms.

use crate::config::{CodecName, CodecOrder, SrtpPolicy, TrunkConfig};
use crate::media::{Codec, Remote, SrtpKey, SrtpKeys, Suite};
use crate::sip::sdp::{Agreed, AudioCodec, CryptoKey, CryptoSuite, Direction, SessionDescription, Srtp, Terms};

/// What was agreed, as the media leg takes it.
pub(in crate::call) fn remote(agreed: &Agreed) -> Remote {
    Remote {
        rtp: agreed.remote,
        rtcp: agreed.remote_rtcp,
        // Only codecs of the media room are ever offered or answered, see [`codecs`].
        codec: codec(agreed.codec).unwrap_or(Codec::Pcmu),
        payload_type: agreed.payload_type,
        accepted: agreed.accepted.iter().filter_map(|offer| Some((offer.payload_type, codec(offer.codec)?))).collect(),
        telephone_event: agreed.telephone_event.map(|event| event.payload_type),
        send: matches!(agreed.direction, Direction::SendRecv | Direction::SendOnly),
        receive: matches!(agreed.direction, Direction::SendRecv | Direction::RecvOnly),
        srtp: agreed.srtp.as_ref().map(|srtp| Box::new(keys(srtp))),
    }
}

fn keys(srtp: &Srtp) -> SrtpKeys {
    let suite = match srtp.suite {
        CryptoSuite::AesCm128HmacSha1_80 => Suite::AesCm128HmacSha1_80,
        CryptoSuite::AesCm128HmacSha1_32 => Suite::AesCm128HmacSha1_32,
        CryptoSuite::AesCm256HmacSha1_80 => Suite::AesCm256HmacSha1_80,
        CryptoSuite::AeadAes128Gcm => Suite::AeadAes128Gcm,
        CryptoSuite::AeadAes256Gcm => Suite::AeadAes256Gcm,
    };
    let key = |key: &CryptoKey| SrtpKey::new(suite, key.expose(), key.mki());
    SrtpKeys { send: key(&srtp.send), receive: key(&srtp.receive) }
}

fn codec(codec: AudioCodec) -> Option<Codec> {
    match codec {
        AudioCodec::Pcmu => Some(Codec::Pcmu),
        AudioCodec::Pcma => Some(Codec::Pcma),
        AudioCodec::G722 | AudioCodec::Opus => None,
    }
}

/// Codecs for phones that call the box directly.
pub(in crate::call) const EXTENSION_CODECS: [CodecName; 2] = [CodecName::Pcmu, CodecName::Pcma];

/// What we bring into a negotiation with one peer.
pub(in crate::call) struct Ability {
    codecs: Vec<AudioCodec>,
    order: CodecOrder,
    srtp: SrtpPolicy,
}

impl Ability {
    /// Of a trunk; that its keys go over TLS, or may go without, the configuration has checked.
    pub(in crate::call) fn of_trunk(trunk: &TrunkConfig) -> Ability {
        Ability { codecs: codecs(&trunk.codecs), order: trunk.codec_order, srtp: trunk.srtp }
    }

    /// Of a phone that calls the box directly: encrypted when it asks for it over TLS.
    pub(in crate::call) fn of_extension(secure: bool) -> Ability {
        let srtp = if secure { SrtpPolicy::Offered } else { SrtpPolicy::Off };
        Ability { codecs: codecs(&EXTENSION_CODECS), order: CodecOrder::Offer, srtp }
    }

    pub(in crate::call) fn terms(&self) -> Terms<'_> {
        Terms { codecs: &self.codecs, order: self.order, srtp: self.srtp, random: |bytes| rand::fill(bytes) }
    }
}

/// A trunk's codecs in its order of preference, as far as the media room has them.
pub(in crate::call) fn codecs(names: &[CodecName]) -> Vec<AudioCodec> {
    let named = |name: &CodecName| match name {
        CodecName::Pcmu => AudioCodec::Pcmu,
        CodecName::Pcma => AudioCodec::Pcma,
        CodecName::G722 => AudioCodec::G722,
        CodecName::Opus => AudioCodec::Opus,
    };
    names.iter().map(named).filter(|name| codec(*name).is_some()).collect()
}

/// Our next description: the version of `before` when nothing changed, else one more (RFC 3264 §8).
pub(in crate::call) fn next_version(before: &SessionDescription, mut next: SessionDescription) -> SessionDescription {
    next.session_id = before.session_id;
    next.version = before.version;
    if next != *before {
        next.version = before.version + 1;
    }
    next
}
