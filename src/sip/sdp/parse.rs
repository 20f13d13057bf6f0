//! Reading a session description.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::codec::is_comfort_noise;
use super::{AudioCodec, CodecOffer, Direction, EventFormat, OpusFormat, OtherMedia, SdpError, SessionDescription};

/// Lines that a description may have; more is an attack, not a call.
const MAX_LINES: usize = 500;

impl SessionDescription {
    /// Reads the first `RTP/AVP` audio section; others are kept as refused. Codecs that we do not speak are left out.
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
    section: Section,
    audio: Option<Audio>,
    other_media: Vec<OtherMedia>,
}

/// Which section the next line belongs to.
#[derive(Default, PartialEq)]
enum Section {
    #[default]
    Session,
    Audio,
    Other,
}

#[derive(Default)]
struct Audio {
    port: u16,
    formats: Vec<u8>,
    mapped: Vec<(u8, String)>,
    parameters: Vec<(u8, String)>,
    connection: Option<IpAddr>,
    direction: Option<Direction>,
    ptime: Option<Duration>,
    max_ptime: Option<Duration>,
    rtcp: Option<(u16, Option<IpAddr>)>,
}

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
        let slot = match (&self.section, &mut self.audio) {
            (Section::Session, _) => &mut self.connection,
            (Section::Audio, Some(audio)) => &mut audio.connection,
            // The address of a section that we refuse is nobody's concern.
            _ => return Ok(()),
        };
        *slot = Some(read_connection(value)?);
        Ok(())
    }

    fn media(&mut self, value: &str) -> Result<(), Flaw> {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        let [kind, port, protocol, formats @ ..] = words.as_slice() else { return Err("m= is too short") };
        let port: u16 = port.split('/').next().and_then(|port| port.parse().ok()).ok_or("m= has no valid port")?;
        if *kind != "audio" || *protocol != "RTP/AVP" || self.audio.is_some() {
            if self.other_media.len() >= 32 {
                return Err("too many media sections");
            }
            self.section = Section::Other;
            self.other_media.push(OtherMedia { line: words.join(" "), before_audio: self.audio.is_none() });
            return Ok(());
        }
        // Each number once: a line may hold thousands.
        let mut known = [false; 128];
        let mut is_new =
            |format: &u8| known.get_mut(usize::from(*format)).is_some_and(|known| !std::mem::replace(known, true));
        let formats = formats.iter().filter_map(|format| format.parse().ok()).filter(|format| is_new(format)).collect();
        self.section = Section::Audio;
        self.audio = Some(Audio { port, formats, ..Audio::default() });
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
        match (&self.section, &mut self.audio) {
            (Section::Session, _) => {
                self.direction = direction.or(self.direction);
                self.ptime = ptime.or(self.ptime);
                self.max_ptime = max_ptime.or(self.max_ptime);
            }
            (Section::Audio, Some(audio)) => {
                audio.direction = direction.or(audio.direction);
                audio.ptime = ptime.or(audio.ptime);
                audio.max_ptime = max_ptime.or(audio.max_ptime);
                match name {
                    "rtpmap" => audio.mapped.extend(read_rtpmap(value)),
                    "fmtp" => audio.parameters.extend(read_parameters(value)),
                    "rtcp" => audio.rtcp = Some(read_rtcp(value)?),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<SessionDescription, SdpError> {
        let audio = self.audio.ok_or(SdpError::NoAudio)?;
        let ip = audio.connection.or(self.connection).ok_or(SdpError::Syntax { line: 1, problem: "c= is missing" })?;
        let formats = audio.formats();
        let mut direction = audio.direction.or(self.direction).unwrap_or_default();
        // Hold as RFC 2543 said it: nothing may be sent to the null address.
        if ip.is_unspecified() {
            direction = Direction::from_parts(direction.sends(), false);
        }
        let address = SocketAddr::new(ip, audio.port);
        let rtcp = audio
            .rtcp
            .map(|(port, rtcp_ip)| SocketAddr::new(rtcp_ip.unwrap_or(ip), port))
            .filter(|rtcp| *rtcp != SocketAddr::new(ip, audio.port.saturating_add(1)));
        Ok(SessionDescription {
            session_id: self.session_id,
            version: self.version,
            address,
            rtcp,
            codecs: formats.codecs,
            events: formats.events,
            comfort_noise: formats.comfort_noise,
            opus: formats.opus,
            direction,
            ptime: audio.ptime.or(self.ptime),
            max_ptime: audio.max_ptime.or(self.max_ptime),
            other_media: self.other_media,
        })
    }
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
    fn formats(&self) -> Formats {
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
