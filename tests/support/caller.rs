//! A caller and a called phone written by hand, message by message: for what a scenario file cannot time or say.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

pub struct Caller {
    socket: UdpSocket,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Caller {
    pub fn new() -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        Caller { socket }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().expect("bound").port()
    }

    fn request(&self, method: &str, dialog: &Dialog<'_>, to_tag: &str, sequence: u32, branch: &str) -> String {
        let Dialog { target, called, id } = dialog;
        let port = self.port();
        format!(
            "{method} sip:{called}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch};rport\r\n\
             From: <sip:+4915112345@127.0.0.1:{port}>;tag=caller{id}\r\nTo: <sip:{called}@{target}>{to_tag}\r\n\
             Call-ID: {id}\r\nCSeq: {sequence} {method}\r\nContact: <sip:+4915112345@127.0.0.1:{port}>\r\n\
             Max-Forwards: 70\r\n"
        )
    }

    fn send(&self, target: SocketAddr, head: &str, body: &str) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!("{head}{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        self.socket.send_to(text.as_bytes(), target).expect("sent");
    }

    /// The next message within `limit`.
    fn receive(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).expect("a timeout can be set");
        let mut buffer = [0; 8192];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Calls, sends CANCEL once `patience` has passed and a provisional answer is there (RFC 3261 §9.1), ends whatever
    /// comes of it, and returns the final answer's code.
    #[track_caller]
    pub fn call_and_cancel(&self, target: SocketAddr, called: &str, patience: Duration) -> u16 {
        let id = format!("race-{}", rand::random::<u64>());
        let dialog = Dialog { target, called, id: &id };
        let branch = format!("z9hG4bK{id}");
        let session =
            "v=0\r\no=c 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        let begin = Instant::now();
        self.send(target, &self.request("INVITE", &dialog, "", 1, &branch), session);
        let mut cancelled = false;
        let mut provisional = false;
        while begin.elapsed() < PATIENCE {
            if provisional && !cancelled && begin.elapsed() >= patience {
                self.send(target, &self.request("CANCEL", &dialog, "", 1, &branch), "");
                cancelled = true;
            }
            let Some(message) = self.receive(Duration::from_millis(1)) else { continue };
            let of_invite = message.contains("CSeq: 1 INVITE") && message.contains(&id);
            let Some(code) = code(&message).filter(|_| of_invite) else { continue };
            provisional = true;
            if code < 200 {
                continue;
            }
            let tag = to_tag(&message);
            if code >= 300 {
                self.send(target, &self.request("ACK", &dialog, &tag, 1, &branch), "");
            } else {
                self.send(target, &self.request("ACK", &dialog, &tag, 1, &format!("{branch}a")), "");
                self.bye(&dialog, &tag, &branch);
            }
            return code;
        }
        panic!("no final answer to the INVITE within {PATIENCE:?}");
    }

    /// Calls in vain; the final answer's code.
    #[track_caller]
    pub fn refused(&self, target: SocketAddr, called: &str) -> u16 {
        self.call_and_cancel(target, called, PATIENCE)
    }

    /// Calls with `session` as the offer, and waits for the answer.
    #[track_caller]
    pub fn stand(self, target: SocketAddr, called: &str, session: &str) -> Standing {
        let id = format!("call-{}", rand::random::<u64>());
        let branch = format!("z9hG4bK{id}");
        let dialog = Dialog { target, called, id: &id };
        self.send(target, &self.request("INVITE", &dialog, "", 1, &branch), session);
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let Some(message) = self.receive(PATIENCE) else { break };
            let of_invite = message.contains("CSeq: 1 INVITE") && message.contains(&id);
            let Some(code) = code(&message).filter(|code| of_invite && *code >= 200) else { continue };
            assert_eq!(code, 200, "{message}");
            let tag = to_tag(&message);
            self.send(target, &self.request("ACK", &dialog, &tag, 1, &format!("{branch}a")), "");
            let session = message.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
            return Standing { caller: self, target, called: called.to_owned(), id, tag, branch, session };
        }
        panic!("no answer to the INVITE within {PATIENCE:?}");
    }

    #[track_caller]
    fn bye(&self, dialog: &Dialog<'_>, tag: &str, branch: &str) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            self.send(dialog.target, &self.request("BYE", dialog, tag, 2, &format!("{branch}b")), "");
            while let Some(message) = self.receive(Duration::from_millis(500)) {
                if message.contains("CSeq: 2 BYE") && message.contains(dialog.id) {
                    return;
                }
            }
        }
        panic!("no answer to BYE");
    }
}

/// A call that was answered.
pub struct Standing {
    caller: Caller,
    target: SocketAddr,
    called: String,
    id: String,
    tag: String,
    branch: String,
    /// The session description of the answer.
    pub session: String,
}

impl Standing {
    /// Whether the box has said BYE, among what it sent since.
    pub fn is_over(&self) -> bool {
        while let Some(message) = self.caller.receive(Duration::from_millis(500)) {
            if message.starts_with("BYE ") && message.contains(&self.id) {
                return true;
            }
        }
        false
    }

    #[track_caller]
    pub fn hang_up(self) {
        let dialog = Dialog { target: self.target, called: &self.called, id: &self.id };
        self.caller.bye(&dialog, &self.tag, &self.branch);
    }
}

struct Dialog<'a> {
    target: SocketAddr,
    called: &'a str,
    id: &'a str,
}

fn code(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

fn to_tag(message: &str) -> String {
    let line = message.lines().find(|line| line.to_ascii_lowercase().starts_with("to:")).unwrap_or_default();
    line.split_once(";tag=").map(|(_, tag)| format!(";tag={tag}")).unwrap_or_default()
}

/// A phone that repeats its 200, as if the ACK had been lost each time (RFC 3261 §13.3.1.4).
pub struct ForgetfulPhone {
    socket: UdpSocket,
}

impl ForgetfulPhone {
    pub fn new() -> ForgetfulPhone {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        ForgetfulPhone { socket }
    }

    pub fn port(&self) -> u16 {
        self.socket.local_addr().expect("bound").port()
    }

    fn receive(&self, start: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 8192];
        loop {
            let (length, from) =
                self.socket.recv_from(&mut buffer).unwrap_or_else(|error| panic!("no {start}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return (text, from);
            }
        }
    }

    fn reply(&self, request: &str, to: SocketAddr, body: &str) {
        let copied = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| {
            let start = format!("{}:", name.to_ascii_lowercase());
            let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(&start)).unwrap_or_default();
            let tag = if name == "To" && !line.contains(";tag=") { ";tag=forgetful" } else { "" };
            format!("{line}{tag}\r\n")
        });
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "SIP/2.0 200 OK\r\n{}Contact: <sip:127.0.0.1:{}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            copied.concat(),
            self.port(),
            body.len()
        );
        self.socket.send_to(text.as_bytes(), to).expect("sent");
    }

    /// Answers one call `times` times, each after the ACK of the one before.
    pub fn answer(&self, times: usize) {
        let (invite, gateway) = self.receive("INVITE ");
        let session =
            "v=0\r\no=f 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
        for _ in 0..times {
            self.reply(&invite, gateway, session);
            self.receive("ACK ");
        }
    }

    /// Waits for BYE and answers it.
    pub fn end(&self) {
        let (bye, gateway) = self.receive("BYE ");
        self.reply(&bye, gateway, "");
    }
}
