//! Offer and answer (RFC 3264).

use std::net::SocketAddr;
use std::time::Duration;

use super::write::following_port;
use super::{
    Agreed, AudioCodec, CodecOffer, ComfortNoise, Direction, EventFormat, OpusFormat, SdpError, SessionDescription,
};

const PTIME: Duration = Duration::from_millis(20);

impl SessionDescription {
    /// An offer of `codecs` with `telephone-event` at their clock rates and ptime 20.
    pub fn offer(session_id: u64, address: SocketAddr, codecs: &[AudioCodec]) -> SessionDescription {
        let mut rates: Vec<u32> = codecs.iter().map(|codec| codec.clock_rate()).collect();
        if codecs.is_empty() {
            rates.push(8_000);
        }
        rates.sort_unstable();
        rates.dedup();
        let opus = codecs.contains(&AudioCodec::Opus);
        SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            codecs: codecs
                .iter()
                .map(|codec| CodecOffer { codec: *codec, payload_type: codec.payload_type() })
                .collect(),
            events: rates.into_iter().map(EventFormat::ours).collect(),
            comfort_noise: None,
            opus: if opus { OpusFormat::OURS } else { OpusFormat::default() },
            direction: Direction::SendRecv,
            ptime: Some(PTIME),
            max_ptime: None,
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
        let chosen = *self.codecs.iter().find(|offer| codecs.contains(&offer.codec)).ok_or(SdpError::NoCommonCodec)?;
        let answer = SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            codecs: vec![chosen],
            events: self.events_for(chosen.codec).into_iter().collect(),
            comfort_noise: self.comfort_noise.filter(|_| has_comfort_noise(chosen.codec)),
            opus: if chosen.codec == AudioCodec::Opus { OpusFormat::OURS } else { OpusFormat::default() },
            direction: self.direction.reversed(),
            ptime: Some(self.ptime.unwrap_or(PTIME)),
            max_ptime: None,
            other_media: self.other_media.clone(),
        };
        let agreed = self.agreed(chosen, &answer, answer.direction);
        Ok((answer, agreed))
    }

    /// Reads `answer` as the answer to `self` (our offer).
    pub fn agree(&self, answer: &SessionDescription) -> Result<Agreed, SdpError> {
        if answer.address.port() == 0 {
            return Err(SdpError::NoAudio);
        }
        let offered = |codec: AudioCodec| self.codecs.iter().any(|offer| offer.codec == codec);
        let chosen = *answer.codecs.iter().find(|choice| offered(choice.codec)).ok_or(SdpError::NoCommonCodec)?;
        let theirs = answer.direction.reversed();
        let direction = Direction::from_parts(
            self.direction.sends() && theirs.sends(),
            self.direction.receives() && theirs.receives(),
        );
        Ok(answer.agreed(chosen, self, direction))
    }

    /// `self` is the peer's description, `ours` the other half. The peer sends with our numbers, we with the peer's.
    fn agreed(&self, chosen: CodecOffer, ours: &SessionDescription, direction: Direction) -> Agreed {
        let has = |codec: AudioCodec| self.codecs.iter().any(|offer| offer.codec == codec);
        let hears = |rate: u32| self.events.iter().any(|event| event.clock_rate == rate);
        let noise = self.comfort_noise.zip(ours.comfort_noise).filter(|_| has_comfort_noise(chosen.codec));
        Agreed {
            codec: chosen.codec,
            payload_type: chosen.payload_type,
            accepted: ours.codecs.iter().filter(|offer| has(offer.codec)).copied().collect(),
            telephone_event: self
                .events_for(chosen.codec)
                .filter(|event| ours.events.iter().any(|known| known.clock_rate == event.clock_rate)),
            accepted_events: ours.events.iter().filter(|event| hears(event.clock_rate)).copied().collect(),
            comfort_noise: noise.map(|(send, accept)| ComfortNoise { send, accept }),
            opus: self.opus,
            ptime: self.packet_time(),
            remote: self.address,
            remote_rtcp: self.rtcp.unwrap_or_else(|| following_port(self.address)),
            direction,
        }
    }

    /// Keys go at the clock rate of the sound (RFC 4733 §2.1); a peer that has only another rate gets that.
    fn events_for(&self, codec: AudioCodec) -> Option<EventFormat> {
        let same = self.events.iter().find(|event| event.clock_rate == codec.clock_rate());
        same.or(self.events.first()).copied()
    }

    /// What the writer likes in a packet, within what it can take.
    fn packet_time(&self) -> Duration {
        let wish = self.ptime.unwrap_or(PTIME);
        let wish = self.max_ptime.map_or(wish, |most| wish.min(most)).as_millis() as u64;
        Duration::from_millis((wish / 10 * 10).clamp(10, 60))
    }
}

/// Opus has silence of its own (RFC 7587 §3.1.3).
fn has_comfort_noise(codec: AudioCodec) -> bool {
    codec.clock_rate() == 8_000
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
        assert_eq!(answer.events, [EventFormat { payload_type: 100, clock_rate: 8_000 }]);
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
            events: vec![EventFormat { payload_type: 99, clock_rate: 8_000 }],
            rtcp: Some(address("192.0.2.9:9000")),
            ..SessionDescription::offer(2, address("192.0.2.9:6000"), &both())
        };
        let agreed = offer.agree(&answer).expect("common codec");
        assert_eq!((agreed.codec, agreed.payload_type), (AudioCodec::Pcma, 97));
        assert_eq!(agreed.telephone_event, Some(EventFormat { payload_type: 99, clock_rate: 8_000 }));
        assert_eq!(agreed.accepted_events, [EventFormat { payload_type: 101, clock_rate: 8_000 }]);
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
    fn keys_go_at_the_clock_of_the_sound_and_noise_only_where_it_was_agreed() {
        let every = [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcmu];
        let offer = SessionDescription::offer(1, address("192.0.2.1:4000"), &every);
        let read = SessionDescription::parse(&offer.write()).expect("our own");
        for (codec, rate) in [(AudioCodec::Opus, 48_000), (AudioCodec::G722, 8_000)] {
            let (answer, agreed) = read.answer(2, address("192.0.2.9:6000"), &[codec]).expect("common");
            let heard = offer.agree(&SessionDescription::parse(&answer.write()).expect("ours")).expect("common");
            for side in [&agreed, &heard] {
                assert_eq!((side.codec, side.payload_type), (codec, codec.payload_type()));
                assert_eq!(side.telephone_event.map(|event| event.clock_rate), Some(rate));
                assert_eq!(side.accepted_events.len(), 1, "{codec:?}");
            }
            assert_eq!(heard.opus.dtx, codec == AudioCodec::Opus);
            assert_eq!(agreed.comfort_noise, None);
        }
        let noisy = SessionDescription { comfort_noise: Some(13), ..read };
        let noise = |codec| noisy.answer(2, noisy.address, &[codec]).expect("common").1.comfort_noise;
        assert_eq!(noise(AudioCodec::G722), Some(ComfortNoise { send: 13, accept: 13 }));
        assert_eq!(noise(AudioCodec::Opus), None);
    }

    #[test]
    fn a_packet_is_as_long_as_the_peer_likes_and_can_take() {
        let ms = Duration::from_millis;
        for (ptime, most, expected) in [
            (None, None, 20),
            (Some(30), None, 30),
            (Some(25), None, 20),
            (Some(120), None, 60),
            (Some(60), Some(20), 20),
            (Some(1), None, 10),
        ] {
            let offer = SessionDescription {
                ptime: ptime.map(ms),
                max_ptime: most.map(ms),
                ..SessionDescription::offer(1, address("192.0.2.1:4000"), &both())
            };
            assert_eq!(offer.answer(1, offer.address, &both()).expect("common").1.ptime, ms(expected));
        }
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
            hold in 0u8..4, rtcp in proptest::option::of(1u16..65_000), video in any::<bool>(),
            noise in proptest::option::of(Just(13u8)), most in proptest::option::of(1u64..200), wide in any::<bool>()
        ) {
            let ip = if v6 { "2001:db8::7" } else { "192.0.2.7" }.parse().expect("address");
            let mut codecs = both().to_vec();
            if wide { codecs.extend([AudioCodec::Opus, AudioCodec::G722]); }
            if swap { codecs.reverse(); }
            let mut session = SessionDescription::offer(id, SocketAddr::new(ip, port), &codecs);
            session.version = version;
            session.comfort_noise = noise;
            session.max_ptime = most.map(Duration::from_millis);
            session.direction = Direction::from_parts(hold & 1 == 0, hold & 2 == 0);
            session.rtcp = rtcp.filter(|other| *other != port + 1).map(|port| SocketAddr::new(ip, port));
            if video {
                session.other_media.push(OtherMedia { line: "video 0 RTP/AVP 31".into(), before_audio: swap });
            }
            prop_assert_eq!(SessionDescription::parse(&session.write()), Ok(session));
        }
    }
}
