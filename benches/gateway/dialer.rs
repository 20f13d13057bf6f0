//! Many SIP calls towards the gateway from one socket and one thread, as a PBX would place them.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const RESEND: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(30);

pub struct Dialer {
    socket: UdpSocket,
    target: SocketAddr,
    called: &'static str,
    next: u64,
    /// Calls that the gateway refused, by code; each was placed again.
    pub refused: BTreeMap<u16, u64>,
}

/// An answered call.
pub struct Answered {
    pub id: String,
    to_tag: String,
    /// Where the gateway wants our RTP.
    pub remote: SocketAddr,
    pub rtp: UdpSocket,
    pub took: Duration,
}

enum Stage {
    Inviting,
    Leaving,
}

struct Open {
    stage: Stage,
    begun: Instant,
    sent: Instant,
    request: String,
    rtp: Option<UdpSocket>,
}

impl Dialer {
    pub fn new(target: SocketAddr, called: &'static str, port: u16) -> Dialer {
        let socket = UdpSocket::bind(("127.0.0.1", port)).expect("the trunk's port");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        Dialer { socket, target, called, next: 0, refused: BTreeMap::new() }
    }

    /// Places `count` calls, at most `at_once` unanswered at a time, and leaves them up.
    pub fn call(&mut self, count: usize, at_once: usize) -> Vec<Answered> {
        let mut open: HashMap<String, Open> = HashMap::new();
        let mut answered: Vec<Answered> = Vec::new();
        let mut placed = 0;
        while answered.len() < count {
            while placed < count && open.len() < at_once {
                let (id, call) = self.invite();
                self.send(&call.request);
                open.insert(id, call);
                placed += 1;
            }
            self.resend(&mut open);
            let Some(message) = self.receive() else { continue };
            let Some((code, method, id)) = parse(&message) else { continue };
            if method != "INVITE" || code < 200 {
                continue;
            }
            let to_tag = tag(&message);
            if code != 200 {
                // The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
                self.send(
                    &self.request("ACK", &id, &to_tag, 1, "").replace(&format!("{id}ACK"), &format!("{id}INVITE")),
                );
                if open.remove(&id).is_some() {
                    *self.refused.entry(code).or_default() += 1;
                    assert!(self.refused.values().sum::<u64>() < 1_000, "refused too often: {:?}", self.refused);
                    placed -= 1;
                }
                continue;
            }
            self.send(&self.request("ACK", &id, &to_tag, 1, ""));
            if let Some(call) = open.remove(&id) {
                let remote = media(&message).expect("an answer with an address");
                let rtp = call.rtp.expect("opened with the INVITE");
                answered.push(Answered { took: call.begun.elapsed(), id, to_tag, remote, rtp });
            }
        }
        answered
    }

    /// Ends all of them.
    pub fn leave(&mut self, calls: &[Answered]) {
        let mut open: HashMap<String, Open> = HashMap::new();
        for call in calls {
            let request = self.request("BYE", &call.id, &call.to_tag, 2, "");
            self.send(&request);
            let now = Instant::now();
            open.insert(call.id.clone(), Open { stage: Stage::Leaving, begun: now, sent: now, request, rtp: None });
            // Not more at once than a socket buffer holds.
            while open.len() >= 50 {
                self.settle(&mut open);
            }
        }
        while !open.is_empty() {
            self.settle(&mut open);
        }
    }

    fn settle(&mut self, open: &mut HashMap<String, Open>) {
        self.resend(open);
        if let Some((_, method, id)) = self.receive().as_deref().and_then(parse)
            && method == "BYE"
        {
            open.remove(&id);
        }
    }

    fn invite(&mut self) -> (String, Open) {
        self.next += 1;
        let id = format!("load-{}-{}", std::process::id(), self.next);
        let rtp = UdpSocket::bind("127.0.0.1:0").expect("an RTP port");
        let port = rtp.local_addr().expect("bound").port();
        let body = format!(
            "v=0\r\no=load 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
        );
        let request = self.request("INVITE", &id, "", 1, &body);
        let now = Instant::now();
        (id, Open { stage: Stage::Inviting, begun: now, sent: now, request, rtp: Some(rtp) })
    }

    fn request(&self, method: &str, id: &str, to_tag: &str, sequence: u32, body: &str) -> String {
        let port = self.socket.local_addr().expect("bound").port();
        let (target, called) = (self.target, self.called);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:{called}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{id}{method}\r\n\
             From: <sip:load@127.0.0.1:{port}>;tag=f{id}\r\nTo: <sip:{called}@{target}>{to_tag}\r\nCall-ID: {id}\r\n\
             CSeq: {sequence} {method}\r\nContact: <sip:load@127.0.0.1:{port}>\r\nMax-Forwards: 70\r\n{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn send(&self, request: &str) {
        self.socket.send_to(request.as_bytes(), self.target).expect("sent");
    }

    fn resend(&self, open: &mut HashMap<String, Open>) {
        for (id, call) in open.iter_mut() {
            let what = match call.stage {
                Stage::Inviting => "INVITE",
                Stage::Leaving => "BYE",
            };
            assert!(call.begun.elapsed() < GIVE_UP, "no answer to {what} of {id}");
            if call.sent.elapsed() > RESEND {
                self.send(&call.request);
                call.sent = Instant::now();
            }
        }
    }

    fn receive(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }
}

/// Code, method and Call-ID of a response.
fn parse(message: &str) -> Option<(u16, String, String)> {
    let code = message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    let header = |name: &str| {
        message.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        })
    };
    Some((code, header("CSeq")?.split(' ').nth(1)?.to_string(), header("Call-ID")?))
}

fn tag(message: &str) -> String {
    let line = message.lines().find(|line| line.to_ascii_lowercase().starts_with("to:")).unwrap_or_default();
    line.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap_or_default()
}

fn media(message: &str) -> Option<SocketAddr> {
    let line = |start: &str| message.lines().find_map(|line| line.strip_prefix(start));
    let address = line("c=IN IP4 ")?.trim().parse().ok()?;
    let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(address, port))
}
