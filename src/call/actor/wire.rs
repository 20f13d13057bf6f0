//! Session descriptions of SIP in the media room's terms.

use crate::config::{CodecName, CodecOrder, DtmfMode, ExtensionConfig, SrtpPolicy, TrunkConfig};
use crate::media::{Codec, ComfortNoise, KeyFormat, KeyWay, OpusTuning, Remote, SrtpKey, SrtpKeys, Suite};
use crate::sip::sdp::{
    Agreed, AudioCodec, CryptoKey, CryptoSuite, Direction, EventFormat, OpusFormat, SessionDescription, Srtp, Terms,
};

/// What was agreed, as the media leg takes it.
pub(in crate::call) fn remote(agreed: &Agreed) -> Remote {
    Remote {
        rtcp: agreed.remote_rtcp,
        payload_type: agreed.payload_type,
        ptime: agreed.ptime,
        accepted: agreed.accepted.iter().map(|offer| (offer.payload_type, codec(offer.codec))).collect(),
        telephone_event: agreed.telephone_event.map(key_format),
        accepted_events: agreed.accepted_events.iter().copied().map(key_format).collect(),
        comfort_noise: agreed.comfort_noise.map(|noise| ComfortNoise { send: noise.send, accept: noise.accept }),
        opus: tuning(agreed.opus),
        send: matches!(agreed.direction, Direction::SendRecv | Direction::SendOnly),
        receive: matches!(agreed.direction, Direction::SendRecv | Direction::RecvOnly),
        srtp: agreed.srtp.as_ref().map(|srtp| Box::new(keys(srtp))),
        ..Remote::new(agreed.remote, codec(agreed.codec))
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

fn codec(codec: AudioCodec) -> Codec {
    match codec {
        AudioCodec::Pcmu => Codec::Pcmu,
        AudioCodec::Pcma => Codec::Pcma,
        AudioCodec::G722 => Codec::G722,
        AudioCodec::Opus => Codec::Opus,
    }
}

/// The same with keys as the trunk wants them. `trunk` is `None` for phones of the box.
pub(in crate::call) fn keyed(remote: Remote, trunk: Option<&TrunkConfig>) -> Remote {
    Remote { keys: key_way(trunk, remote.telephone_event.is_some()), ..remote }
}

/// How keys travel. `events`: the far end agreed to telephone-events.
///
/// | `dtmf` | events agreed | not agreed |
/// |---|---|---|
/// | auto | events | tones |
/// | rfc4733 | events | none can be sent |
/// | info | INFO | INFO |
/// | inband | tones | tones |
pub(in crate::call) fn key_way(trunk: Option<&TrunkConfig>, events: bool) -> KeyWay {
    match trunk.map_or(DtmfMode::Auto, |trunk| trunk.dtmf) {
        DtmfMode::Auto if !events => KeyWay::Tones,
        DtmfMode::Auto | DtmfMode::Rfc4733 => KeyWay::Events,
        DtmfMode::Info => KeyWay::Signalling,
        DtmfMode::Inband => KeyWay::Tones,
    }
}

fn key_format(event: EventFormat) -> KeyFormat {
    KeyFormat { payload_type: event.payload_type, clock: event.clock_rate }
}

/// One voice is sent whatever the peer says of stereo.
fn tuning(format: OpusFormat) -> OpusTuning {
    OpusTuning {
        max_playback_rate: format.max_playback_rate,
        max_average_bitrate: format.max_average_bitrate,
        inband_fec: format.inband_fec,
        dtx: format.dtx,
        cbr: format.cbr,
    }
}

/// Codecs for phones that call the box directly.
pub(in crate::call) const EXTENSION_CODECS: [CodecName; 4] =
    [CodecName::Pcmu, CodecName::Pcma, CodecName::G722, CodecName::Opus];

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

    /// Of a phone of the box itself, whose signalling is over TLS or is not.
    pub(in crate::call) fn of_extension(extension: Option<&ExtensionConfig>, secure: bool) -> Ability {
        let srtp = extension.map_or(SrtpPolicy::Off, |extension| extension.srtp_over(secure));
        Ability { codecs: codecs(&EXTENSION_CODECS), order: CodecOrder::Offer, srtp }
    }

    /// No sound without keys.
    pub(in crate::call) fn wants_keys(&self) -> bool {
        self.srtp == SrtpPolicy::Required
    }

    pub(in crate::call) fn terms(&self) -> Terms<'_> {
        Terms { codecs: &self.codecs, order: self.order, srtp: self.srtp, random: |bytes| rand::fill(bytes) }
    }
}

/// A trunk's codecs in its order of preference.
pub(in crate::call) fn codecs(names: &[CodecName]) -> Vec<AudioCodec> {
    let named = |name: &CodecName| match name {
        CodecName::Pcmu => AudioCodec::Pcmu,
        CodecName::Pcma => AudioCodec::Pcma,
        CodecName::G722 => AudioCodec::G722,
        CodecName::Opus => AudioCodec::Opus,
    };
    names.iter().map(named).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_as_the_table_says() {
        use KeyWay::{Events, Signalling, Tones};
        let trunk = |dtmf| TrunkConfig { dtmf, ..TrunkConfig::at("a", "127.0.0.1") };
        for (dtmf, agreed, otherwise) in [
            (DtmfMode::Auto, Events, Tones),
            (DtmfMode::Rfc4733, Events, Events),
            (DtmfMode::Info, Signalling, Signalling),
            (DtmfMode::Inband, Tones, Tones),
        ] {
            let trunk = trunk(dtmf);
            assert_eq!((key_way(Some(&trunk), true), key_way(Some(&trunk), false)), (agreed, otherwise), "{dtmf:?}");
        }
        assert_eq!((key_way(None, true), key_way(None, false)), (Events, Tones), "a phone of the box");
    }
}
