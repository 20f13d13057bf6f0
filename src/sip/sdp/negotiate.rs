//! Offer and answer (RFC 3264).

use std::net::SocketAddr;
use std::time::Duration;

use super::write::following_port;
use super::{
    Agreed, AudioCodec, CodecOffer, CodecOrder, ComfortNoise, Direction, EventFormat, OpusFormat, SdpError,
    SessionDescription, Terms, secure,
};

const PTIME: Duration = Duration::from_millis(20);

impl SessionDescription {
    /// An offer of `codecs` with `telephone-event` at their clock rates and ptime 20, without encryption.
    pub fn offer(session_id: u64, address: SocketAddr, codecs: &[AudioCodec]) -> SessionDescription {
        SessionDescription::propose(session_id, address, &Terms::plain(codecs))
    }

    /// An offer under `terms`.
    pub fn propose(session_id: u64, address: SocketAddr, terms: &Terms<'_>) -> SessionDescription {
        let mut rates: Vec<u32> = terms.codecs.iter().map(|codec| codec.clock_rate()).collect();
        if rates.is_empty() {
            rates.push(8_000);
        }
        rates.sort_unstable();
        rates.dedup();
        let (profile, crypto) = secure::offered(terms.srtp, terms.random, None);
        let offers = terms.codecs.iter().map(|codec| CodecOffer { codec: *codec, payload_type: codec.payload_type() });
        SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            profile,
            crypto,
            unusable_crypto: false,
            codecs: offers.collect(),
            events: rates.into_iter().map(EventFormat::ours).collect(),
            comfort_noise: None,
            opus: OpusFormat::of(terms.codecs),
            direction: Direction::SendRecv,
            ptime: Some(PTIME),
            max_ptime: None,
            other_media: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    /// Our next offer in the session in which `self` is our last description: everything that we can do, under the keys
    /// and payload types that stand (RFC 3264 §8.3.2), with as many sections as before.
    pub fn propose_again(&self, terms: &Terms<'_>) -> SessionDescription {
        let fresh = SessionDescription::propose(self.session_id, self.address, terms);
        let (profile, crypto) = secure::offered(terms.srtp, terms.random, Some(self));
        let mut taken = Taken::of(self);
        let codecs = fresh.codecs.into_iter().map(|offer| {
            let known = self.codecs.iter().find(|known| known.codec == offer.codec);
            known.copied().unwrap_or_else(|| CodecOffer { payload_type: taken.free(offer.payload_type), ..offer })
        });
        let codecs = codecs.collect();
        let events = fresh.events.into_iter().map(|event| {
            let known = self.events.iter().find(|known| known.clock_rate == event.clock_rate);
            known.copied().unwrap_or_else(|| EventFormat { payload_type: taken.free(event.payload_type), ..event })
        });
        let events = events.collect();
        SessionDescription { profile, crypto, codecs, events, other_media: self.other_media.clone(), ..fresh }
    }

    /// Answers `self` (an offer) for a stream received at `address`; takes the first of the offer's codecs that is in
    /// `codecs`. Returns the answer and what was agreed.
    pub fn answer(
        &self,
        session_id: u64,
        address: SocketAddr,
        codecs: &[AudioCodec],
    ) -> Result<(SessionDescription, Agreed), SdpError> {
        self.answer_under(session_id, address, &Terms::plain(codecs), None)
    }

    /// Answers `self` under `terms` with the first of its audio sections that can be met; `before` is our last
    /// description in the same session.
    pub fn answer_under(
        &self,
        session_id: u64,
        address: SocketAddr,
        terms: &Terms<'_>,
        before: Option<&SessionDescription>,
    ) -> Result<(SessionDescription, Agreed), SdpError> {
        self.answer_section(session_id, address, terms, before).or_else(|first| {
            let others = self.alternatives.iter();
            others
                .map(|other| other.answer_section(session_id, address, terms, before))
                .find(Result::is_ok)
                .unwrap_or(Err(first))
        })
    }

    fn answer_section(
        &self,
        session_id: u64,
        address: SocketAddr,
        terms: &Terms<'_>,
        before: Option<&SessionDescription>,
    ) -> Result<(SessionDescription, Agreed), SdpError> {
        if self.address.port() == 0 {
            return Err(SdpError::NoAudio);
        }
        let chosen = self.choose(terms).ok_or(SdpError::NoCommonCodec)?;
        let (crypto, srtp) = secure::answered(self, terms.srtp, terms.random, before)?.unzip();
        let answer = SessionDescription {
            session_id,
            version: 1,
            address,
            rtcp: None,
            profile: self.profile,
            crypto: crypto.into_iter().collect(),
            unusable_crypto: false,
            codecs: vec![chosen],
            events: self.events_for(chosen.codec).into_iter().collect(),
            comfort_noise: self.comfort_noise.filter(|_| has_comfort_noise(chosen.codec)),
            opus: OpusFormat::of(&[chosen.codec]),
            direction: self.direction.reversed(),
            ptime: Some(self.packet_time(chosen.codec)),
            max_ptime: None,
            other_media: self.other_media.clone(),
            alternatives: Vec::new(),
        };
        let agreed = Agreed { srtp, ..self.agreed(chosen, &answer, answer.direction) };
        Ok((answer, agreed))
    }

    /// The codec of an offer that we answer with: the first in the order of either side that both have.
    fn choose(&self, terms: &Terms<'_>) -> Option<CodecOffer> {
        match terms.order {
            CodecOrder::Offer => self.codecs.iter().find(|offer| terms.codecs.contains(&offer.codec)).copied(),
            CodecOrder::Ours => {
                terms.codecs.iter().find_map(|codec| self.codecs.iter().find(|offer| offer.codec == *codec)).copied()
            }
        }
    }

    /// Reads `answer` as the answer to `self` (our offer).
    pub fn agree(&self, answer: &SessionDescription) -> Result<Agreed, SdpError> {
        if answer.address.port() == 0 {
            return Err(SdpError::NoAudio);
        }
        let offered = |codec: AudioCodec| self.codecs.iter().any(|offer| offer.codec == codec);
        let chosen = *answer.codecs.iter().find(|choice| offered(choice.codec)).ok_or(SdpError::NoCommonCodec)?;
        let srtp = secure::agreed(self, answer)?;
        let theirs = answer.direction.reversed();
        let direction = Direction::from_parts(
            self.direction.sends() && theirs.sends(),
            self.direction.receives() && theirs.receives(),
        );
        Ok(Agreed { srtp, ..answer.agreed(chosen, self, direction) })
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
            ptime: self.packet_time(chosen.codec),
            remote: self.address,
            remote_rtcp: self.rtcp.unwrap_or_else(|| following_port(self.address)),
            direction,
            srtp: None,
        }
    }

    /// Keys go at the clock rate of the sound (RFC 4733 §2.1); a peer that has only another rate gets that.
    fn events_for(&self, codec: AudioCodec) -> Option<EventFormat> {
        let same = self.events.iter().find(|event| event.clock_rate == codec.clock_rate());
        same.or(self.events.first()).copied()
    }

    /// What the writer likes in a packet, within what it can take and what the codec can fill. Nothing below 10 ms.
    fn packet_time(&self, codec: AudioCodec) -> Duration {
        let wish = self.ptime.unwrap_or(PTIME);
        let wish = self.max_ptime.map_or(wish, |most| wish.min(most)).as_millis() as u64;
        let milliseconds = match (codec, (wish / 10 * 10).clamp(10, 60)) {
            // Frames of Opus are of these lengths (RFC 6716 §2.1.4).
            (AudioCodec::Opus, 30) => 20,
            (AudioCodec::Opus, 50) => 40,
            (_, whole) => whole,
        };
        Duration::from_millis(milliseconds)
    }
}

/// Payload types that mean something in a session already.
struct Taken(Vec<u8>);

impl Taken {
    fn of(session: &SessionDescription) -> Taken {
        let codecs = session.codecs.iter().map(|offer| offer.payload_type);
        let events = session.events.iter().map(|event| event.payload_type);
        Taken(codecs.chain(events).chain(session.comfort_noise).collect())
    }

    /// `wish`, or another dynamic type when it is taken.
    fn free(&mut self, wish: u8) -> u8 {
        let number = std::iter::once(wish).chain(96..=127).find(|number| !self.0.contains(number)).unwrap_or(wish);
        self.0.push(number);
        number
    }
}

/// Opus has silence of its own (RFC 7587 §3.1.3).
fn has_comfort_noise(codec: AudioCodec) -> bool {
    codec.clock_rate() == 8_000
}

#[cfg(test)]
mod tests {
    use super::super::{OtherMedia, SrtpPolicy};
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
    fn the_order_of_either_side_decides() {
        let offer = SessionDescription::offer(1, address("192.0.2.1:4000"), &[AudioCodec::Pcmu, AudioCodec::Opus]);
        let codecs = [AudioCodec::Opus, AudioCodec::Pcmu];
        for (order, expected) in [(CodecOrder::Offer, AudioCodec::Pcmu), (CodecOrder::Ours, AudioCodec::Opus)] {
            let terms = Terms { order, ..Terms::plain(&codecs) };
            let (answer, agreed) = offer.answer_under(1, offer.address, &terms, None).expect("common");
            assert_eq!((agreed.codec, answer.codecs.len()), (expected, 1));
        }
    }

    #[test]
    fn an_answer_with_several_codecs_is_taken_and_each_may_come() {
        let offer = SessionDescription::offer(
            1,
            address("192.0.2.1:4000"),
            &[AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcmu],
        );
        let answer = SessionDescription::offer(2, address("192.0.2.9:6000"), &[AudioCodec::G722, AudioCodec::Pcmu]);
        let agreed = offer.agree(&answer).expect("common");
        let accepted: Vec<u8> = agreed.accepted.iter().map(|offer| offer.payload_type).collect();
        assert_eq!((agreed.codec, accepted), (AudioCodec::G722, vec![9, 0]));
    }

    #[test]
    fn the_first_section_that_can_be_met_is_answered_in_its_place() {
        let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
             m=audio 5000 RTP/AVP 18\r\nm=audio 6000 RTP/AVP 0\r\n";
        let offer = SessionDescription::parse(text).expect("valid");
        let lines = |srtp| {
            let terms = Terms { srtp, ..Terms::plain(&[AudioCodec::Pcmu]) };
            let (answer, agreed) = offer.answer_under(1, address("192.0.2.9:7000"), &terms, None).expect("common");
            let lines: Vec<String> =
                answer.write().lines().filter(|line| line.starts_with("m=")).map(Into::into).collect();
            (lines, agreed.remote.port())
        };
        let (plain, port) = lines(SrtpPolicy::Off);
        assert_eq!(
            (plain, port),
            (vec!["m=audio 0 RTP/SAVP 0".into(), "m=audio 0 RTP/AVP 18".into(), "m=audio 7000 RTP/AVP 0".into()], 6000)
        );
        let (sealed, port) = lines(SrtpPolicy::Offered);
        assert_eq!(
            (sealed, port),
            (vec!["m=audio 7000 RTP/SAVP 0".into(), "m=audio 0 RTP/AVP 18".into(), "m=audio 0 RTP/AVP 0".into()], 4000)
        );
    }

    #[test]
    fn a_payload_type_keeps_its_meaning_in_our_next_offer() {
        let offer = SessionDescription::parse(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=video 9 RTP/AVP 31\r\n\
             m=audio 4000 RTP/AVP 101 111\r\na=rtpmap:101 opus/48000/2\r\na=rtpmap:111 telephone-event/48000\r\n",
        )
        .expect("valid");
        let codecs = [AudioCodec::Opus, AudioCodec::Pcmu];
        let (answer, _) = offer.answer(1, address("192.0.2.9:6000"), &codecs).expect("common");
        let next = answer.propose_again(&Terms::plain(&codecs));
        let numbers: Vec<(AudioCodec, u8)> =
            next.codecs.iter().map(|offer| (offer.codec, offer.payload_type)).collect();
        assert_eq!(numbers, [(AudioCodec::Opus, 101), (AudioCodec::Pcmu, 0)]);
        let events: Vec<(u32, u8)> = next.events.iter().map(|event| (event.clock_rate, event.payload_type)).collect();
        assert_eq!(events, [(8_000, 96), (48_000, 111)]);
        assert_eq!(next.other_media, answer.other_media);
    }

    #[test]
    fn a_packet_is_as_long_as_the_peer_likes_and_can_take() {
        let ms = Duration::from_millis;
        for (ptime, most, expected) in [
            (None, None, 20),
            (None, Some(10), 10),
            (Some(30), None, 30),
            (Some(25), None, 20),
            (Some(120), None, 60),
            (Some(60), Some(20), 20),
            (Some(1), None, 10),
        ] {
            assert_eq!(packet_times(ptime, most, &both()), (ms(expected), ms(expected)), "{ptime:?} {most:?}");
        }
        for (ptime, expected) in [(10, 10), (20, 20), (30, 20), (40, 40), (50, 40), (60, 60), (120, 60)] {
            assert_eq!(packet_times(Some(ptime), None, &[AudioCodec::Opus]), (ms(expected), ms(expected)), "{ptime}");
        }
        assert_eq!(packet_times(Some(60), Some(35), &[AudioCodec::Opus]).0, ms(20));
    }

    /// What we send to a peer that offers so, and what we answer; the same where it answers so.
    fn packet_times(ptime: Option<u64>, most: Option<u64>, codecs: &[AudioCodec]) -> (Duration, Duration) {
        let theirs = SessionDescription {
            ptime: ptime.map(Duration::from_millis),
            max_ptime: most.map(Duration::from_millis),
            ..SessionDescription::offer(1, address("192.0.2.1:4000"), codecs)
        };
        let (answer, agreed) = theirs.answer(1, theirs.address, codecs).expect("common");
        let ours = SessionDescription::offer(2, theirs.address, codecs);
        assert_eq!(ours.agree(&theirs).expect("common").ptime, agreed.ptime);
        (agreed.ptime, answer.ptime.expect("it is said"))
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
            noise in proptest::option::of(Just(13u8)), most in proptest::option::of(1u64..200), wide in any::<bool>(), srtp in 0usize..3
        ) {
            let ip = if v6 { "2001:db8::7" } else { "192.0.2.7" }.parse().expect("address");
            let mut codecs = both().to_vec();
            if wide { codecs.extend([AudioCodec::Opus, AudioCodec::G722]); }
            if swap { codecs.reverse(); }
            let srtp = [SrtpPolicy::Off, SrtpPolicy::Offered, SrtpPolicy::Required][srtp];
            let terms = Terms { srtp, ..Terms::plain(&codecs) };
            let mut session = SessionDescription::propose(id, SocketAddr::new(ip, port), &terms);
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
