//! Writing a session description.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::{AudioCodec, CodecOffer, Direction, EventFormat, OpusFormat, OtherMedia, SessionDescription};

impl SessionDescription {
    /// The wire form, CRLF line ends.
    pub fn write(&self) -> String {
        let mut text = String::with_capacity(320);
        let ip = family(self.address.ip());
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "v=0\r\no=- {} {} {ip}\r\ns=-\r\nc={ip}\r\nt=0 0\r\n",
            self.session_id,
            self.version,
            ip = format_args!("IN {ip}")
        );
        self.others(&mut text, true);
        self.audio(&mut text);
        self.others(&mut text, false);
        text
    }

    fn audio(&self, text: &mut String) {
        let _ = write!(text, "m=audio {} {}", self.address.port(), self.profile.name());
        let codecs = self.codecs.iter().map(|offer| offer.payload_type);
        let events = self.events.iter().map(|event| event.payload_type);
        let mut any = false;
        for number in codecs.chain(self.comfort_noise).chain(events) {
            any = true;
            let _ = write!(text, " {number}");
        }
        // A section needs a format even when it is refused.
        text.push_str(if any { "\r\n" } else { " 0\r\n" });
        self.formats(text);
        for line in &self.crypto {
            let _ = write!(text, "a=crypto:{line}\r\n");
        }
        if let Some(ptime) = self.ptime {
            let _ = write!(text, "a=ptime:{}\r\n", ptime.as_millis());
        }
        if let Some(max_ptime) = self.max_ptime {
            let _ = write!(text, "a=maxptime:{}\r\n", max_ptime.as_millis());
        }
        text.push_str(match self.direction {
            Direction::SendRecv => "a=sendrecv\r\n",
            Direction::SendOnly => "a=sendonly\r\n",
            Direction::RecvOnly => "a=recvonly\r\n",
            Direction::Inactive => "a=inactive\r\n",
        });
        match self.rtcp {
            Some(rtcp) if rtcp != following_port(self.address) => {
                let _ = write!(text, "a=rtcp:{} IN {}\r\n", rtcp.port(), family(rtcp.ip()));
            }
            _ => {}
        }
    }

    fn formats(&self, text: &mut String) {
        for CodecOffer { codec, payload_type } in &self.codecs {
            let _ = write!(text, "a=rtpmap:{payload_type} {}\r\n", codec.encoding());
            if *codec == AudioCodec::Opus && self.opus != OpusFormat::default() {
                let _ = write!(text, "a=fmtp:{payload_type} {}\r\n", self.opus);
            }
        }
        if let Some(number) = self.comfort_noise {
            let _ = write!(text, "a=rtpmap:{number} CN/8000\r\n");
        }
        for EventFormat { payload_type, clock_rate } in &self.events {
            let _ = write!(text, "a=rtpmap:{payload_type} telephone-event/{clock_rate}\r\n");
            let _ = write!(text, "a=fmtp:{payload_type} 0-16\r\n");
        }
    }

    fn others(&self, text: &mut String, before_audio: bool) {
        for other in self.other_media.iter().filter(|other| other.before_audio == before_audio) {
            let _ = write!(text, "m={}\r\n", refused(other));
        }
    }
}

/// `IP4 192.0.2.1`
fn family(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("IP4 {ip}"),
        IpAddr::V6(ip) => format!("IP6 {ip}"),
    }
}

pub(super) fn following_port(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port().saturating_add(1))
}

/// The section's line with port 0; control characters cannot come out of it.
fn refused(other: &OtherMedia) -> String {
    let plain: String = other.line.chars().filter(|letter| !letter.is_control()).collect();
    let mut words: Vec<&str> = plain.split_ascii_whitespace().collect();
    if let Some(port) = words.get_mut(1) {
        *port = "0";
    }
    words.join(" ")
}
