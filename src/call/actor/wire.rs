//! Session descriptions of SIP in the media room's terms.

use crate::config::CodecName;
use crate::media::{Codec, Remote};
use crate::sip::sdp::{Agreed, AudioCodec, Direction, SessionDescription};

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
    }
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
