//! Session descriptions of SIP in the media room's terms.

use crate::config::CodecName;
use crate::media::{Codec, ComfortNoise, KeyFormat, OpusTuning, Remote};
use crate::sip::sdp::{Agreed, AudioCodec, Direction, EventFormat, OpusFormat, SessionDescription};

/// What was agreed, as the media leg takes it.
pub(in crate::call) fn remote(agreed: &Agreed) -> Remote {
    Remote {
        rtcp: agreed.remote_rtcp,
        payload_type: agreed.payload_type,
        accepted: agreed.accepted.iter().map(|offer| (offer.payload_type, codec(offer.codec))).collect(),
        telephone_event: agreed.telephone_event.map(key_format),
        accepted_events: agreed.accepted_events.iter().copied().map(key_format).collect(),
        comfort_noise: agreed.comfort_noise.map(|noise| ComfortNoise { send: noise.send, accept: noise.accept }),
        opus: tuning(agreed.opus),
        send: matches!(agreed.direction, Direction::SendRecv | Direction::SendOnly),
        receive: matches!(agreed.direction, Direction::SendRecv | Direction::RecvOnly),
        ..Remote::new(agreed.remote, codec(agreed.codec))
    }
}

fn codec(codec: AudioCodec) -> Codec {
    match codec {
        AudioCodec::Pcmu => Codec::Pcmu,
        AudioCodec::Pcma => Codec::Pcma,
        AudioCodec::G722 => Codec::G722,
        AudioCodec::Opus => Codec::Opus,
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
