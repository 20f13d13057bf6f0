//! Offer and answer (RFC 3264).

use std::net::SocketAddr;
use std::time::Duration;

use super::write::following_port;
use super::{Agreed, AudioCodec, CodecOffer, Direction, SdpError, SessionDescription};

/// Dynamic payload type that everybody uses for `telephone-event`.
const TELEPHONE_EVENT: u8 = 101;
const PTIME: Duration = Duration::from_millis(20);

impl SessionDescription {
    /// An offer of `codecs` with `telephone-event` and ptime 20.
    pub fn offer(session_id: u64, address: SocketAddr, codecs: &[AudioCodec]) -> SessionDescription {
        let codecs = codecs
            .iter()
            .map(|codec| CodecOffer { codec: *codec, payload_type: codec.static_payload_type() })
            .collect();
        SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            codecs,
            telephone_event: Some(TELEPHONE_EVENT),
            direction: Direction::SendRecv,
            ptime: Some(PTIME),
            other_media: Vec::new(),
        }
    }

    /// Answers `self` (an offer) for a stream received at `address`; takes the first of the offer's codecs that is in
    /// `codecs`. Returns the answer and what was agreed.
    pub fn answer(
        &self,
        session_id: u64,
        address: SocketAddr,
        codecs: &[AudioCodec],
    ) -> Result<(SessionDescription, Agreed), SdpError> {
        if self.address.port() == 0 {
            return Err(SdpError::NoAudio);
        }
        let chosen =
            self.codecs.iter().find(|offer| codecs.contains(&offer.codec)).ok_or(SdpError::NoCommonCodec)?.clone();
        let answer = SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            codecs: vec![chosen.clone()],
            telephone_event: self.telephone_event,
            direction: self.direction.reversed(),
            ptime: Some(self.ptime.unwrap_or(PTIME)),
            other_media: self.other_media.clone(),
        };
        let agreed = self.agreed(&chosen, vec![chosen.clone()], self.telephone_event, answer.direction);
        Ok((answer, agreed))
    }

    /// Reads `answer` as the answer to `self` (our offer).
    pub fn agree(&self, answer: &SessionDescription) -> Result<Agreed, SdpError> {
        if answer.address.port() == 0 {
            return Err(SdpError::NoAudio);
        }
        let offered = |codec: AudioCodec| self.codecs.iter().any(|offer| offer.codec == codec);
        let answered = |codec: AudioCodec| answer.codecs.iter().any(|offer| offer.codec == codec);
        let chosen = answer.codecs.iter().find(|choice| offered(choice.codec)).ok_or(SdpError::NoCommonCodec)?.clone();
        // The peer sends with our numbers, we with the peer's.
        let accepted = self.codecs.iter().filter(|offer| answered(offer.codec)).cloned().collect();
        let event = self.telephone_event.and(answer.telephone_event);
        let theirs = answer.direction.reversed();
        let direction = Direction::from_parts(
            self.direction.sends() && theirs.sends(),
            self.direction.receives() && theirs.receives(),
        );
        Ok(answer.agreed(&chosen, accepted, event, direction))
    }

    /// `self` is the peer's description.
    fn agreed(
        &self,
        chosen: &CodecOffer,
        accepted: Vec<CodecOffer>,
        telephone_event: Option<u8>,
        direction: Direction,
    ) -> Agreed {
        Agreed {
            codec: chosen.codec,
            payload_type: chosen.payload_type,
            accepted,
            telephone_event,
            remote: self.address,
            remote_rtcp: self.rtcp.unwrap_or_else(|| following_port(self.address)),
            direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OtherMedia;
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn both() -> [AudioCodec; 2] {
        [AudioCodec::Pcmu, AudioCodec::Pcma]
    }

    #[test]
    fn the_answer_takes_the_offers_order_and_its_numbers() {
        let offer = SessionDescription::parse(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 9 RTP/AVP 31\r\n\
             m=audio 4000 RTP/AVP 18 96 0 100\r\na=rtpmap:96 PCMA/8000\r\na=rtpmap:100 telephone-event/8000\r\n\
             a=sendonly\r\nm=application 5 RTP/AVP 1\r\n",
        )
        .expect("valid");
        let (answer, agreed) = offer.answer(7, address("192.0.2.9:6000"), &both()).expect("common codec");
        assert_eq!(answer.codecs, [CodecOffer { codec: AudioCodec::Pcma, payload_type: 96 }]);
        assert_eq!(answer.telephone_event, Some(100));
        assert_eq!(agreed.direction, Direction::RecvOnly);
        assert_eq!((agreed.remote, agreed.remote_rtcp), (address("192.0.2.1:4000"), address("192.0.2.1:4001")));
        let kinds: Vec<String> =
            answer.write().lines().filter(|line| line.starts_with("m=")).map(str::to_owned).collect();
        assert_eq!(kinds, ["m=video 0 RTP/AVP 31", "m=audio 6000 RTP/AVP 96 100", "m=application 0 RTP/AVP 1"]);
    }

    #[test]
    fn an_answer_is_read_with_each_sides_numbers() {
        let offer = SessionDescription::offer(1, address("192.0.2.1:4000"), &both());
        let answer = SessionDescription {
            codecs: vec![CodecOffer { codec: AudioCodec::Pcma, payload_type: 97 }],
            telephone_event: Some(99),
            rtcp: Some(address("192.0.2.9:9000")),
            ..SessionDescription::offer(2, address("192.0.2.9:6000"), &both())
        };
        let agreed = offer.agree(&answer).expect("common codec");
        assert_eq!((agreed.codec, agreed.payload_type, agreed.telephone_event), (AudioCodec::Pcma, 97, Some(99)));
        assert_eq!(agreed.accepted, [CodecOffer { codec: AudioCodec::Pcma, payload_type: 8 }]);
        assert_eq!(agreed.remote_rtcp, address("192.0.2.9:9000"));
    }

    #[test]
    fn nothing_in_common_and_a_refused_stream_are_told_apart() {
        let offer = SessionDescription::offer(1, address("192.0.2.1:4000"), &[AudioCodec::Pcmu]);
        assert_eq!(offer.answer(1, offer.address, &[AudioCodec::Pcma]).err(), Some(SdpError::NoCommonCodec));
        let refused = SessionDescription { address: address("192.0.2.9:0"), ..offer.clone() };
        assert_eq!(offer.agree(&refused), Err(SdpError::NoAudio));
    }

    #[test]
    fn hold_is_seen_from_our_side() {
        let offer = SessionDescription::offer(1, address("192.0.2.1:4000"), &both());
        for (theirs, ours) in [
            (Direction::SendRecv, Direction::SendRecv),
            (Direction::SendOnly, Direction::RecvOnly),
            (Direction::RecvOnly, Direction::SendOnly),
            (Direction::Inactive, Direction::Inactive),
        ] {
            let answer = SessionDescription { direction: theirs, ..offer.clone() };
            assert_eq!(offer.agree(&answer).expect("common").direction, ours);
            assert_eq!(answer.answer(1, offer.address, &both()).expect("common").1.direction, ours);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            id in any::<u64>(), version in any::<u64>(), port in 1u16..65_000, v6 in any::<bool>(), swap in any::<bool>(),
            hold in 0u8..4, rtcp in proptest::option::of(1u16..65_000), video in any::<bool>()
        ) {
            let ip = if v6 { "2001:db8::7" } else { "192.0.2.7" }.parse().expect("address");
            let mut codecs = both();
            if swap { codecs.reverse(); }
            let mut session = SessionDescription::offer(id, SocketAddr::new(ip, port), &codecs);
            session.version = version;
            session.direction = Direction::from_parts(hold & 1 == 0, hold & 2 == 0);
            session.rtcp = rtcp.filter(|other| *other != port + 1).map(|port| SocketAddr::new(ip, port));
            if video {
                session.other_media.push(OtherMedia { line: "video 0 RTP/AVP 31".into(), before_audio: swap });
            }
            prop_assert_eq!(SessionDescription::parse(&session.write()), Ok(session));
        }
    }
}
