//! Reading a session description.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::codec::is_comfort_noise;
use super::{
    AudioCodec, CodecOffer, Crypto, Direction, EventFormat, OpusFormat, OtherMedia, Profile, SdpError,
    SessionDescription,
};

/// Lines that a description may have; more is an attack, not a call.
const MAX_LINES: usize = 500;

impl SessionDescription {
    /// Reads the audio sections of RTP; others are kept as refused. Codecs that we do not speak are left out.
    pub fn parse(text: &str) -> Result<SessionDescription, SdpError> {
        let mut draft = Draft::default();
        let mut lines = 0;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            lines += 1;
            if lines > MAX_LINES {
                return Err(SdpError::Syntax { line: index + 1, problem: "too many lines" });
            }
            draft.line(line).map_err(|problem| SdpError::Syntax { line: index + 1, problem })?;
        }
        if lines == 0 || !draft.version_seen {
            return Err(SdpError::Syntax { line: 1, problem: "v=0 is missing" });
        }
        draft.finish()
    }
}

#[derive(Default)]
struct Draft {
    version_seen: bool,
    session_id: u64,
    version: u64,
    connection: Option<IpAddr>,
    direction: Option<Direction>,
    ptime: Option<Duration>,
    max_ptime: Option<Duration>,
    sections: Vec<Section>,
}

/// A media section: the value of its `m=` line, and what it says when it is audio that we could take.
struct Section {
    line: String,
    audio: Option<Audio>,
}

#[derive(Default)]
struct Audio {
    port: u16,
    profile: Profile,
    formats: Vec<u8>,
    mapped: Vec<(u8, String)>,
    parameters: Vec<(u8, String)>,
    crypto: Vec<Crypto>,
    unusable_crypto: bool,
    connection: Option<IpAddr>,
    direction: Option<Direction>,
    ptime: Option<Duration>,
    max_ptime: Option<Duration>,
    rtcp: Option<(u16, Option<IpAddr>)>,
}

/// Media sections that a description may have.
const MAX_SECTIONS: usize = 32;
/// Audio sections that are read; further ones are refused.
const MAX_AUDIO: usize = 4;
/// `a=crypto` lines of a section that are kept.
const MAX_CRYPTO: usize = 16;

type Flaw = &'static str;

impl Draft {
    fn line(&mut self, line: &str) -> Result<(), Flaw> {
        let (kind, value) = line.split_once('=').ok_or("not of the form x=value")?;
        match kind {
            "v" if value.trim() == "0" => self.version_seen = true,
            "v" => return Err("version is not 0"),
            "o" => self.origin(value)?,
            "c" => self.connection(value)?,
            "m" => self.media(value)?,
            "a" => self.attribute(value)?,
            _ if kind.len() == 1 => {}
            _ => return Err("not of the form x=value"),
        }
        Ok(())
    }

    fn origin(&mut self, value: &str) -> Result<(), Flaw> {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let [_, session_id, version, ..] = words.as_slice() else { return Err("o= is too short") };
        // Numbers are only compared; one beyond 64 bits loses nothing but its top.
        self.session_id = tail_number(session_id);
        self.version = tail_number(version);
        Ok(())
    }

    fn connection(&mut self, value: &str) -> Result<(), Flaw> {
        let slot = match self.sections.last_mut() {
            None => &mut self.connection,
            Some(Section { audio: Some(audio), .. }) => &mut audio.connection,
            // The address of a section that we refuse is nobody's concern.
            Some(_) => return Ok(()),
        };
        *slot = Some(read_connection(value)?);
        Ok(())
    }

    fn media(&mut self, value: &str) -> Result<(), Flaw> {
        // RFC 8866 §9: tokens. A refused section's line goes back as it came, and must be readable then.
        if !value.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) {
            return Err("m= holds what is no token");
        }
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let [kind, port, protocol, formats @ ..] = words.as_slice() else { return Err("m= is too short") };
        let port: u16 = port.split('/').next().and_then(|port| port.parse().ok()).ok_or("m= has no valid port")?;
        if self.sections.len() >= MAX_SECTIONS {
            return Err("too many media sections");
        }
        let known = self.sections.iter().filter(|section| section.audio.is_some()).count();
        let profile = Profile::named(protocol).filter(|_| kind.eq_ignore_ascii_case("audio") && known < MAX_AUDIO);
        let audio = profile.map(|profile| Audio { port, profile, formats: numbers(formats), ..Audio::default() });
        self.sections.push(Section { line: words.join(" "), audio });
        Ok(())
    }

    fn attribute(&mut self, value: &str) -> Result<(), Flaw> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        let direction = match name {
            "sendrecv" => Some(Direction::SendRecv),
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        };
        let ptime = (name == "ptime").then(|| read_ptime(value)).flatten();
        let max_ptime = (name == "maxptime").then(|| read_ptime(value)).flatten();
        match self.sections.last_mut() {
            None => {
                self.direction = direction.or(self.direction);
                self.ptime = ptime.or(self.ptime);
                self.max_ptime = max_ptime.or(self.max_ptime);
            }
            Some(Section { audio: Some(audio), .. }) => {
                audio.direction = direction.or(audio.direction);
                audio.ptime = ptime.or(audio.ptime);
                audio.max_ptime = max_ptime.or(audio.max_ptime);
                audio.attribute(name, value)?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// The first audio section that is alive takes our place; what else is alive may take it instead.
    fn finish(self) -> Result<SessionDescription, SdpError> {
        let is_ours = |section: &Section| section.audio.is_some();
        let is_alive = |section: &Section| section.audio.as_ref().is_some_and(|audio| audio.port > 0);
        let mut places = (0..self.sections.len()).filter(|at| self.sections.get(*at).is_some_and(is_alive));
        let Some(first) = places.next().or_else(|| self.sections.iter().position(is_ours)) else {
            let foreign = self.sections.iter().any(|section| section.line.starts_with("audio "));
            return Err(if foreign { SdpError::Profile } else { SdpError::NoAudio });
        };
        let mut session = self.with(first)?;
        // Those that lack an address cannot serve, and harm nobody.
        session.alternatives = places.filter_map(|at| self.with(at).ok()).collect();
        Ok(session)
    }

    /// The description with the section at `place` as the stream, and all others refused.
    fn with(&self, place: usize) -> Result<SessionDescription, SdpError> {
        let audio = self.sections.get(place).and_then(|section| section.audio.as_ref()).ok_or(SdpError::NoAudio)?;
        let ip = audio.connection.or(self.connection).ok_or(SdpError::Syntax { line: 1, problem: "c= is missing" })?;
        let formats = audio.read_formats();
        let mut direction = audio.direction.or(self.direction).unwrap_or_default();
        // Hold as RFC 2543 said it: nothing may be sent to the null address.
        if ip.is_unspecified() {
            direction = Direction::from_parts(direction.sends(), false);
        }
        let others = self.sections.iter().enumerate().filter(|(at, _)| *at != place);
        Ok(SessionDescription {
            session_id: self.session_id,
            version: self.version,
            address: SocketAddr::new(ip, audio.port),
            rtcp: audio
                .rtcp
                .map(|(port, rtcp_ip)| SocketAddr::new(rtcp_ip.unwrap_or(ip), port))
                .filter(|rtcp| *rtcp != SocketAddr::new(ip, audio.port.saturating_add(1))),
            profile: audio.profile,
            crypto: audio.crypto.clone(),
            unusable_crypto: audio.unusable_crypto,
            codecs: formats.codecs,
            events: formats.events,
            comfort_noise: formats.comfort_noise,
            opus: formats.opus,
            direction,
            ptime: audio.ptime.or(self.ptime),
            max_ptime: audio.max_ptime.or(self.max_ptime),
            other_media: others
                .map(|(at, section)| OtherMedia { line: section.line.clone(), before_audio: at < place })
                .collect(),
            alternatives: Vec::new(),
        })
    }
}

/// Payload types, each once: a line may hold thousands.
fn numbers(formats: &[&str]) -> Vec<u8> {
    let mut known = [false; 128];
    let mut is_new =
        |format: &u8| known.get_mut(usize::from(*format)).is_some_and(|known| !std::mem::replace(known, true));
    formats.iter().filter_map(|format| format.parse().ok()).filter(|format| is_new(format)).collect()
}

/// The formats of `m=audio` that we speak.
#[derive(Default)]
struct Formats {
    codecs: Vec<CodecOffer>,
    events: Vec<EventFormat>,
    comfort_noise: Option<u8>,
    opus: OpusFormat,
}

impl Audio {
    fn attribute(&mut self, name: &str, value: &str) -> Result<(), Flaw> {
        match name {
            "rtpmap" => self.mapped.extend(read_rtpmap(value)),
            "fmtp" => self.parameters.extend(read_parameters(value)),
            "rtcp" => self.rtcp = Some(read_rtcp(value)?),
            "crypto" => self.crypto(value),
            _ => {}
        }
        Ok(())
    }

    /// A tag that was used before makes a line unusable (RFC 4568 §5.1).
    fn crypto(&mut self, value: &str) {
        let known = |crypto: &Crypto| self.crypto.iter().any(|line| line.tag == crypto.tag);
        match Crypto::read(value).filter(|crypto| !known(crypto) && self.crypto.len() < MAX_CRYPTO) {
            Some(crypto) => self.crypto.push(crypto),
            None => self.unusable_crypto = true,
        }
    }

    fn read_formats(&self) -> Formats {
        let mut formats = Formats::default();
        for &payload_type in &self.formats {
            let mapping = find(&self.mapped, payload_type);
            if let Some(codec) = AudioCodec::of(payload_type, mapping) {
                let first = !formats.codecs.iter().any(|offer| offer.codec == AudioCodec::Opus);
                if codec == AudioCodec::Opus && first {
                    formats.opus = OpusFormat::read(find(&self.parameters, payload_type).unwrap_or_default());
                }
                formats.codecs.push(CodecOffer { codec, payload_type });
            } else if let Some(event) = EventFormat::of(payload_type, mapping) {
                if !formats.events.iter().any(|known| known.clock_rate == event.clock_rate) {
                    formats.events.push(event);
                }
            } else if formats.comfort_noise.is_none() && is_comfort_noise(payload_type, mapping) {
                formats.comfort_noise = Some(payload_type);
            }
        }
        formats
    }
}

/// The first that was said of a payload type.
fn find(said: &[(u8, String)], payload_type: u8) -> Option<&str> {
    said.iter().find(|(number, _)| *number == payload_type).map(|(_, text)| text.as_str())
}

fn tail_number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| {
        text.bytes()
            .filter(u8::is_ascii_digit)
            .fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}

/// `IN IP4 192.0.2.1/127` or `IN IP6 2001:db8::1`.
fn read_connection(value: &str) -> Result<IpAddr, Flaw> {
    let mut words = value.split_ascii_whitespace();
    let (Some("IN"), Some(kind), Some(address)) = (words.next(), words.next(), words.next()) else {
        return Err("c= is not of the form IN IP4 address");
    };
    let address = address.split('/').next().unwrap_or_default();
    match address.parse::<IpAddr>() {
        Ok(ip) if matches!((kind, ip), ("IP4", IpAddr::V4(_)) | ("IP6", IpAddr::V6(_))) => Ok(ip.to_canonical()),
        Ok(_) => Err("c= names one address family and gives another"),
        Err(_) => Err("c= holds no IP address"),
    }
}

/// `96 opus/48000/2` to (96, `opus/48000/2` in lower case); a trailing `/1` (mono) is dropped.
fn read_rtpmap(value: &str) -> Option<(u8, String)> {
    let (number, name) = value.trim().split_once(' ')?;
    let name = name.trim().to_ascii_lowercase();
    Some((number.parse().ok()?, name.strip_suffix("/1").unwrap_or(&name).to_owned()))
}

/// `111 useinbandfec=1` to its two parts.
fn read_parameters(value: &str) -> Option<(u8, String)> {
    let (number, parameters) = value.trim().split_once(' ')?;
    Some((number.parse().ok()?, parameters.to_owned()))
}

fn read_ptime(value: &str) -> Option<Duration> {
    value.trim().parse::<u16>().ok().filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()))
}

/// `53020` or `53020 IN IP6 2001:db8::1` (RFC 3605).
fn read_rtcp(value: &str) -> Result<(u16, Option<IpAddr>), Flaw> {
    let (port, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    let port = port.parse().map_err(|_| "a=rtcp has no valid port")?;
    let ip = if rest.is_empty() { None } else { Some(read_connection(rest)?) };
    Ok((port, ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\n";

    fn parse(rest: &str) -> Result<SessionDescription, SdpError> {
        SessionDescription::parse(&format!("{HEAD}{rest}"))
    }

    #[test]
    fn static_payload_types_need_no_rtpmap() {
        let session = parse("c=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 18 0\r\n").expect("valid");
        let kinds: Vec<AudioCodec> = session.codecs.iter().map(|offer| offer.codec).collect();
        assert_eq!(kinds, [AudioCodec::Pcma, AudioCodec::Pcmu]);
        assert_eq!((session.session_id, session.version), (1, 2));
        assert_eq!(session.direction, Direction::SendRecv);
    }

    #[test]
    fn a_mapping_counts_more_than_the_static_number() {
        let session = parse(
            "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0 96 97\r\na=rtpmap:0 G729/8000\r\n\
             a=rtpmap:96 PCMA/8000/1\r\na=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-16\r\n",
        )
        .expect("valid");
        assert_eq!(session.codecs, [CodecOffer { codec: AudioCodec::Pcma, payload_type: 96 }]);
        assert_eq!(session.events, [EventFormat { payload_type: 97, clock_rate: 8_000 }]);
    }

    #[test]
    fn wide_band_codecs_keys_at_each_clock_and_comfort_noise_are_understood() {
        let session = parse(
            "c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 98 9 0 13 101 102 103\r\na=rtpmap:98 OPUS/48000/2\r\n\
             a=fmtp:98 useinbandfec=1;maxplaybackrate=16000\r\na=rtpmap:9 g722/8000\r\na=rtpmap:13 CN/8000\r\n\
             a=rtpmap:101 Telephone-Event/48000\r\na=rtpmap:102 telephone-event/8000\r\n\
             a=rtpmap:103 telephone-event/8000\r\na=maxptime:40\r\n",
        )
        .expect("valid");
        let kinds: Vec<AudioCodec> = session.codecs.iter().map(|offer| offer.codec).collect();
        assert_eq!(kinds, [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcmu]);
        let events: Vec<(u8, u32)> =
            session.events.iter().map(|event| (event.payload_type, event.clock_rate)).collect();
        assert_eq!(events, [(101, 48_000), (102, 8_000)]);
        assert_eq!((session.comfort_noise, session.max_ptime), (Some(13), Some(Duration::from_millis(40))));
        assert!(session.opus.inband_fec && session.opus.max_playback_rate == 16_000);
    }

    #[test]
    fn media_level_counts_more_than_session_level() {
        let session = parse(
            "c=IN IP4 192.0.2.1\r\na=sendonly\r\na=ptime:30\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.7\r\n\
             a=recvonly\r\na=rtcp:5000 IN IP4 192.0.2.8\r\n",
        )
        .expect("valid");
        assert_eq!(session.address.to_string(), "192.0.2.7:4000");
        assert_eq!(session.direction, Direction::RecvOnly);
        assert_eq!(session.ptime, Some(Duration::from_millis(30)));
        assert_eq!(session.rtcp.map(|rtcp| rtcp.to_string()).as_deref(), Some("192.0.2.8:5000"));
    }

    #[test]
    fn holds_in_every_form() {
        let hold = |text: &str| parse(text).expect("valid").direction;
        assert_eq!(hold("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n"), Direction::SendOnly);
        assert_eq!(hold("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\na=inactive\r\n"), Direction::Inactive);
        assert_eq!(hold("c=IN IP4 1.2.3.4\r\na=inactive\r\nm=audio 4000 RTP/AVP 0\r\n"), Direction::Inactive);
    }

    #[test]
    fn ipv6_and_other_media_are_understood() {
        let session = parse(
            "c=IN IP6 2001:db8::20\r\nm=video 6024 RTP/AVP 107\r\nc=IN IP4 junk\r\nm=audio 6000 RTP/AVP 0\r\n\
             m=image 0 udptl t38\r\nm=audio 7000 RTP/SAVP 0\r\n",
        )
        .expect("valid");
        assert_eq!(session.address.to_string(), "[2001:db8::20]:6000");
        let before: Vec<bool> = session.other_media.iter().map(|other| other.before_audio).collect();
        assert_eq!(before, [true, false, false]);
        assert_eq!(session.alternatives.len(), 1);
    }

    #[test]
    fn every_live_audio_section_may_take_our_place() {
        let session = parse(
            "c=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n\
             m=audio 5000 RTP/savp 0\r\na=sendonly\r\nm=audio 6000 RTP/AVPF 8\r\n",
        )
        .expect("valid");
        assert_eq!((session.address.port(), session.profile), (5000, Profile::Savp));
        let [other] = session.alternatives.as_slice() else { panic!("{session:?}") };
        assert_eq!((other.address.port(), other.profile, other.direction), (6000, Profile::Avpf, Direction::SendRecv));
        let lines: Vec<String> = other.write().lines().filter(|line| line.starts_with("m=")).map(Into::into).collect();
        let expected =
            ["m=audio 0 RTP/AVP 0", "m=audio 0 UDP/TLS/RTP/SAVPF 0", "m=audio 0 RTP/savp 0", "m=audio 6000 RTP/AVPF 8"];
        assert_eq!(lines, expected);
        let refused = parse("c=IN IP4 192.0.2.1\r\nm=audio 0 RTP/AVP 0\r\n").expect("valid");
        assert_eq!(refused.address.port(), 0);
        let browser = parse("c=IN IP4 192.0.2.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n");
        assert_eq!(browser, Err(SdpError::Profile));
        let many = parse(&format!("c=IN IP4 192.0.2.1\r\n{}", "m=audio 4000 RTP/AVP 0\r\n".repeat(30))).expect("valid");
        assert_eq!((many.alternatives.len(), many.other_media.len()), (MAX_AUDIO - 1, 29));
    }

    #[test]
    fn what_browsers_and_gateways_add_is_passed_over() {
        let session = parse(
            "c=IN IP4 192.0.2.1\r\na=group:BUNDLE 0\r\na=ice-ufrag:x\r\na=ice-lite\r\nm=audio 4000 RTP/SAVPF 0 101\r\n\
             b=AS:64\r\na=mid:0\r\na=ice-pwd:y\r\na=candidate:1 1 UDP 1 192.0.2.1 4000 typ host\r\na=rtcp-mux\r\n\
             a=rtcp-fb:* nack\r\na=extmap:1 urn:x\r\na=ssrc:1 cname:x\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=crypto:1 AEAD_AES_128_GCM inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n\
             a=crypto:1 AEAD_AES_128_GCM inline:BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\r\n",
        )
        .expect("valid");
        assert_eq!((session.profile, session.crypto.len(), session.unusable_crypto), (Profile::Savpf, 1, true));
        assert_eq!((session.codecs.len(), session.events.len()), (1, 1));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(parse("c=IN IP4 1.2.3.4\r\n"), Err(SdpError::NoAudio));
        let problem = |text: &str| match parse(text) {
            Err(SdpError::Syntax { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(problem("c=IN IP4 example.com\r\n"), 4);
        assert_eq!(problem("c=IN IP6 1.2.3.4\r\n"), 4);
        assert_eq!(problem("m=audio 70000 RTP/AVP 0\r\n"), 4);
        assert_eq!(problem("m=audio\r\n"), 4);
        assert_eq!(problem("nonsense\r\n"), 4);
        assert!(SessionDescription::parse("").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(([vocmat]=[ -~]{0,30})?\r?\n){0,12}") {
            let _ = SessionDescription::parse(&format!("{HEAD}{text}"));
        }
    }

    #[test]
    fn a_format_named_a_thousand_times_is_one() {
        let formats = "0 8 0 200 ".repeat(1_000);
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n"
        );
        let numbers: Vec<u8> =
            SessionDescription::parse(&text).expect("valid").codecs.iter().map(|offer| offer.payload_type).collect();
        assert_eq!(numbers, [0, 8]);
    }
}
