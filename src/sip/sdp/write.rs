//! Writing a session description.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::{Direction, OtherMedia, SessionDescription};

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
        let _ = write!(text, "m=audio {} RTP/AVP", self.address.port());
        let numbers = self.codecs.iter().map(|offer| offer.payload_type).chain(self.telephone_event);
        let mut any = false;
        for number in numbers {
            any = true;
            let _ = write!(text, " {number}");
        }
        // A section needs a format even when it is refused.
        text.push_str(if any { "\r\n" } else { " 0\r\n" });
        for offer in &self.codecs {
            let _ = write!(text, "a=rtpmap:{} {}/8000\r\n", offer.payload_type, offer.codec.name());
        }
        if let Some(number) = self.telephone_event {
            let _ = write!(text, "a=rtpmap:{number} telephone-event/8000\r\na=fmtp:{number} 0-15\r\n");
        }
        if let Some(ptime) = self.ptime {
            let _ = write!(text, "a=ptime:{}\r\n", ptime.as_millis());
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
