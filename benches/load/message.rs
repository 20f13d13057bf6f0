//! The SIP messages of a caller, as text.

use std::net::SocketAddr;

/// What the messages of one call have in common.
#[derive(Debug, Clone)]
pub struct Way {
    /// Of the gateway, and of the caller.
    pub target: SocketAddr,
    pub own: SocketAddr,
    pub called: String,
}

impl Way {
    /// `caller` is the number that calls; `to_tag` begins with `;tag=` or is empty.
    pub fn request(&self, method: &str, id: &str, caller: u64, to_tag: &str, body: &str) -> String {
        let Way { target, own, called } = self;
        // ACK belongs to the INVITE, whose number is 1; the branch makes it a transaction of its own.
        let sequence = if method == "BYE" { 2 } else { 1 };
        format!(
            "{method} sip:{called}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{id}{method}\r\n\
             From: <sip:{caller}@{own}>;tag=f{id}\r\nTo: <sip:{called}@{target}>{to_tag}\r\nCall-ID: {id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:{caller}@{own}>\r\nMax-Forwards: 70\r\n{}",
            end(body)
        )
    }

    /// The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
    pub fn acknowledge_refusal(&self, id: &str, caller: u64, to_tag: &str) -> String {
        self.request("ACK", id, caller, to_tag, "").replace(&format!("{id}ACK"), &format!("{id}INVITE"))
    }

    /// 200 to a request of the gateway.
    pub fn agree(&self, request: &str, body: &str) -> String {
        let copied: String = request
            .lines()
            .filter(|line| {
                let name = line.split(':').next().unwrap_or_default();
                ["via", "from", "to", "call-id", "cseq"].iter().any(|wanted| name.eq_ignore_ascii_case(wanted))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        format!("SIP/2.0 200 OK\r\n{copied}Contact: <sip:load@{}>\r\n{}", self.own, end(body))
    }
}

fn end(body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// G.711 and the keys of the telephone, as phones offer them.
pub fn offer(rtp: SocketAddr) -> String {
    let (ip, port) = (rtp.ip(), rtp.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=load 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// Status code of a response; `None` for a request.
pub fn code(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// `;tag=…` of the other side.
pub fn to_tag(message: &str) -> String {
    let to = header(message, "To").unwrap_or_default();
    to.split_once(";tag=").map(|(_, tag)| format!(";tag={}", tag.split(';').next().unwrap_or(tag))).unwrap_or_default()
}
