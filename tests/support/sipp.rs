//! SIPp as the phone, the PBX or the carrier: scenarios put together from messages, run as a child process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, tail, wait_for_udp_listener};
use super::{audio, free_udp_port, free_udp_range};

/// A scenario being written, one step a call.
#[derive(Default, Clone)]
pub struct Scenario(String);

const DIALOG: &str = "[last_Via:]\n[last_Record-Route:]\n[last_From:]\n[last_To:];tag=[pid]SIPp[call_number]\n[last_Call-ID:]\n[last_CSeq:]\n\
                      Contact: <sip:[local_ip]:[local_port];transport=[transport]>\n";

const KEPT: &str = "Via:[$via]\nFrom:[$from]\nTo:[$to];tag=[pid]SIPp[call_number]\n[last_Call-ID:]\nCSeq:[$cseq]\n\
                    Contact: <sip:[local_ip]:[local_port];transport=[transport]>\n";

/// Payload type 0 or 8 and its name.
fn sdp(payload_type: u8) -> String {
    let name = if payload_type == 8 { "PCMA" } else { "PCMU" };
    format!(
        "v=0\no=sipp 5 5 IN IP4 [local_ip]\ns=-\nc=IN IP4 [media_ip]\nt=0 0\n\
         m=audio [auto_media_port] RTP/AVP {payload_type} 101\na=rtpmap:{payload_type} {name}/8000\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\n"
    )
}

impl Scenario {
    pub fn new() -> Scenario {
        Scenario::default()
    }

    fn step(mut self, xml: &str) -> Scenario {
        self.0 += xml;
        self.0.push('\n');
        self
    }

    fn send(self, attributes: &str, message: &str) -> Scenario {
        self.step(&format!("<send {attributes}><![CDATA[\n{message}\n]]></send>"))
    }

    pub fn pause(self, time: Duration) -> Scenario {
        self.step(&format!("<pause milliseconds=\"{}\"/>", time.as_millis()))
    }

    /// Streams a file of µ-law samples once; needs no privilege.
    pub fn stream(self, sound: &Path) -> Scenario {
        self.step(&format!("<nop><action><exec rtp_stream=\"{},1,0,PCMU/8000\"/></action></nop>", sound.display()))
    }

    /// Plays a capture; needs a raw socket.
    pub fn play(self, capture: &Path) -> Scenario {
        self.step(&format!("<nop><action><exec play_pcap_audio=\"{}\"/></action></nop>", capture.display()))
    }

    // --- as the called side ---

    pub fn receive(self, method: &str) -> Scenario {
        self.step(&format!("<recv request=\"{method}\"/>"))
    }

    /// `method` may come here or not.
    pub fn receive_optional(self, method: &str) -> Scenario {
        self.step(&format!("<recv request=\"{method}\" optional=\"true\"/>"))
    }

    /// An INVITE, of which is kept what a later message needs when others came between.
    pub fn receive_invite(self) -> Scenario {
        let keep = |header: &str, name: &str| {
            format!("<ereg regexp=\".*\" search_in=\"hdr\" header=\"{header}:\" assign_to=\"{name}\"/>")
        };
        let kept = [keep("Via", "via"), keep("CSeq", "cseq"), keep("From", "from"), keep("To", "to")].concat();
        self.step(&format!("<recv request=\"INVITE\" rrs=\"true\"><action>{kept}</action></recv>"))
            .step("<Reference variables=\"via,cseq,from,to\"/>")
    }

    /// 487 for the INVITE kept, after the CANCEL was answered.
    pub fn terminate_kept(self) -> Scenario {
        self.send("retrans=\"500\"", &format!("SIP/2.0 487 Request Terminated\n{KEPT}Content-Length: 0\n"))
            .receive("ACK")
    }

    /// An answer without a body to the request received last.
    pub fn reply(self, status: &str) -> Scenario {
        self.send("", &format!("SIP/2.0 {status}\n{DIALOG}Content-Length: 0\n"))
    }

    /// The same with further header lines.
    pub fn reply_with(self, status: &str, lines: &str) -> Scenario {
        self.send("", &format!("SIP/2.0 {status}\n{DIALOG}{lines}Content-Length: 0\n"))
    }

    /// A request outside of any dialog, from `user`; `lines` are further header lines.
    pub fn request(self, method: &str, sequence: u32, user: &str, lines: &str, body: &str) -> Scenario {
        let message = format!(
            "{method} sip:[remote_ip]:[remote_port] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]\n\
             From: <sip:{user}@[remote_ip]:[remote_port]>;tag=[pid]SIPp[call_number]\n\
             To: <sip:{user}@[remote_ip]:[remote_port]>\nCall-ID: [call_id]\nCSeq: {sequence} {method}\n\
             Max-Forwards: 70\n{lines}Content-Length: [len]\n\n{body}"
        );
        self.send("retrans=\"500\"", &message)
    }

    /// A challenge that the next request answers.
    pub fn expect_challenge(self) -> Scenario {
        self.step("<recv response=\"401\" auth=\"true\"/>")
    }

    /// An answer in which each of `patterns` must be found.
    pub fn expect_with(self, code: u16, patterns: &[&str]) -> Scenario {
        let checks: String = patterns
            .iter()
            .enumerate()
            .map(|(at, pattern)| {
                format!("<ereg regexp=\"{pattern}\" search_in=\"msg\" check_it=\"true\" assign_to=\"p{code}_{at}\"/>")
            })
            .collect();
        let names: Vec<String> = (0..patterns.len()).map(|at| format!("p{code}_{at}")).collect();
        self.step(&format!("<recv response=\"{code}\"><action>{checks}</action></recv>"))
            .step(&format!("<Reference variables=\"{}\"/>", names.join(",")))
    }

    /// A final refusal of the INVITE, resent until the ACK comes.
    pub fn refuse(self, status: &str) -> Scenario {
        self.send("retrans=\"500\"", &format!("SIP/2.0 {status}\n{DIALOG}Content-Length: 0\n")).receive("ACK")
    }

    /// 200 with a session description, resent until the ACK comes.
    pub fn answer(self, payload_type: u8) -> Scenario {
        let message = format!(
            "SIP/2.0 200 OK\n{DIALOG}Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
            sdp(payload_type)
        );
        self.send("retrans=\"500\"", &message).receive("ACK")
    }

    /// Waits for the other side's BYE and answers it.
    pub fn until_bye(self) -> Scenario {
        self.receive("BYE").send(
            "",
            "SIP/2.0 200 OK\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]\nContent-Length: 0\n",
        )
    }

    /// BYE of the called side.
    pub fn bye_of_callee(self) -> Scenario {
        self.send(
            "retrans=\"500\"",
            "BYE [next_url] SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From:[$to];tag=[pid]SIPp[call_number]\nTo:[$from]\n\
             [last_Call-ID:]\nCSeq: 1 BYE\nMax-Forwards: 70\nContent-Length: 0\n",
        )
        .step("<recv response=\"200\"/>")
    }

    // --- as the calling side ---

    pub fn invite(self, called: &str, caller: &str, payload_type: u8) -> Scenario {
        let message = format!(
            "INVITE sip:{called}@[remote_ip]:[remote_port] SIP/2.0\n{}CSeq: 1 INVITE\n\
             Contact: <sip:{caller}@[local_ip]:[local_port]>\nMax-Forwards: 70\n\
             Content-Type: application/sdp\nContent-Length: [len]\n\n{}",
            Self::outgoing(called, caller, ""),
            sdp(payload_type)
        );
        self.send("retrans=\"500\"", &message).step("<recv response=\"100\" optional=\"true\"/>")
    }

    fn outgoing(called: &str, caller: &str, tag: &str) -> String {
        format!(
            "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]\n\
             To: <sip:{called}@[remote_ip]:[remote_port]>{tag}\nCall-ID: [call_id]\n"
        )
    }

    pub fn expect(self, code: u16) -> Scenario {
        self.step(&format!("<recv response=\"{code}\" rrs=\"true\"/>"))
    }

    pub fn expect_optional(self, code: u16) -> Scenario {
        self.step(&format!("<recv response=\"{code}\" optional=\"true\"/>"))
    }

    pub fn ack(self, called: &str, caller: &str) -> Scenario {
        let dialog = Self::outgoing(called, caller, "[peer_tag_param]");
        let target = format!("sip:{called}@[remote_ip]:[remote_port]");
        self.send("", &format!("ACK {target} SIP/2.0\n{dialog}CSeq: 1 ACK\nMax-Forwards: 70\nContent-Length: 0\n"))
    }

    pub fn bye(self, called: &str, caller: &str) -> Scenario {
        let dialog = Self::outgoing(called, caller, "[peer_tag_param]");
        let target = format!("sip:{called}@[remote_ip]:[remote_port]");
        self.send(
            "retrans=\"500\"",
            &format!("BYE {target} SIP/2.0\n{dialog}CSeq: 2 BYE\nMax-Forwards: 70\nContent-Length: 0\n"),
        )
        .expect(200)
    }

    /// A request of the dialog that a proxy put itself into: along the route that was recorded.
    fn routed(self, method: &str, sequence: u32, caller: &str, attributes: &str) -> Scenario {
        let message = format!(
            "{method} [next_url] SIP/2.0\n\
             Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
             From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]\n[last_To:]\n\
             Call-ID: [call_id]\nCSeq: {sequence} {method}\n[routes]\nMax-Forwards: 70\nContent-Length: 0\n"
        );
        self.send(attributes, &message)
    }

    pub fn ack_routed(self, caller: &str) -> Scenario {
        self.routed("ACK", 1, caller, "")
    }

    pub fn bye_routed(self, caller: &str) -> Scenario {
        self.routed("BYE", 2, caller, "retrans=\"500\"").expect(200)
    }

    /// ACK of a refusal: same branch as the INVITE (RFC 3261 §17.1.1.3).
    pub fn ack_refusal(self, called: &str, caller: &str) -> Scenario {
        let message = format!(
            "ACK sip:{called}@[remote_ip]:[remote_port] SIP/2.0\n[last_Via:]\n\
             From: <sip:{caller}@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]\n[last_To:]\n\
             Call-ID: [call_id]\nCSeq: 1 ACK\nMax-Forwards: 70\nContent-Length: 0\n"
        );
        self.send("", &message)
    }

    fn xml(&self) -> String {
        format!("<?xml version=\"1.0\"?>\n<scenario name=\"test\">\n{}</scenario>\n", self.0)
    }
}

/// A running SIPp.
pub struct Sipp {
    pub process: Process,
    pub port: u16,
    messages: PathBuf,
    errors: PathBuf,
}

/// How a SIPp is run.
pub struct Run<'a> {
    pub folder: &'a Path,
    pub name: &'a str,
    pub scenario: &'a Scenario,
    /// Calls until it ends.
    pub calls: u32,
    /// Seconds until it gives up.
    pub limit: u64,
    /// The port to listen on; a free one when 0.
    pub port: u16,
}

impl Run<'_> {
    fn command(&self, port: u16) -> (Command, PathBuf, PathBuf) {
        let file = |ending: &str| self.folder.join(format!("{}.{ending}", self.name));
        std::fs::write(file("xml"), self.scenario.xml()).expect("scenario written");
        let mut command = Command::new("sipp");
        command.current_dir(self.folder).arg("-sf").arg(file("xml"));
        command.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-nostdin", "-p", &port.to_string()]);
        command.args(["-mp", &free_udp_range(8).to_string(), "-m", &self.calls.to_string()]);
        command.args(["-timeout", &format!("{}s", self.limit), "-timeout_error"]);
        command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
        command.arg("-trace_err").arg("-error_file").arg(file("errors"));
        (command, file("messages"), file("errors"))
    }

    fn port(&self) -> u16 {
        if self.port == 0 { free_udp_port() } else { self.port }
    }

    /// SIPp waiting for calls.
    #[track_caller]
    pub fn answering(self) -> Sipp {
        let port = self.port();
        let (mut command, messages, errors) = self.command(port);
        let output = self.folder.join(format!("{}.screen", self.name));
        let process = Process::start("sipp", &mut command, &output);
        wait_for_udp_listener("sipp to listen", port);
        Sipp { process, port, messages, errors }
    }

    /// SIPp placing calls to `target`, at `rate` a second.
    pub fn calling(self, target: std::net::SocketAddr, rate: u32) -> Sipp {
        let port = self.port();
        let (mut command, messages, errors) = self.command(port);
        command.args(["-r", &rate.to_string()]).arg(target.to_string());
        let output = self.folder.join(format!("{}.screen", self.name));
        let process = Process::start("sipp", &mut command, &output);
        Sipp { process, port, messages, errors }
    }
}

impl Sipp {
    /// Fails the test unless every call went as the scenario says.
    #[track_caller]
    pub fn succeeded(mut self, limit: Duration) -> String {
        let status = self.process.wait(limit);
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(status.success(), "sipp: {status}\n{}\n{}", tail(&errors, 40), tail(&self.messages(), 120));
        self.messages()
    }

    /// Every message sent and received.
    pub fn messages(&self) -> String {
        std::fs::read_to_string(&self.messages).unwrap_or_default()
    }

    /// How many messages were received that begin with `start`.
    pub fn received(&self, start: &str) -> usize {
        count_received(&self.messages(), start)
    }
}

/// Counts the received messages whose first line begins with `start` in a SIPp message log.
pub fn count_received(messages: &str, start: &str) -> usize {
    messages
        .split("message received")
        .skip(1)
        .filter(|rest| {
            rest.lines()
                .map(str::trim)
                .find(|line| !line.is_empty() && !line.starts_with('['))
                .is_some_and(|line| line.starts_with(start))
        })
        .count()
}

/// A capture file (Ethernet, IPv4, UDP) of `pcm` at 8 kHz in packets of 20 ms.
pub fn write_capture(path: &Path, pcm: &[i16], payload_type: u8) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (index, samples) in pcm.chunks_exact(160).enumerate() {
        let number = u32::try_from(index).expect("a short capture");
        let payload = if payload_type == 8 { audio::to_alaw(samples) } else { audio::to_ulaw(samples) };
        let frame = frame(number, payload_type, &payload);
        let length = u32::try_from(frame.len()).expect("a short frame");
        let micros = number * 20_000;
        for word in [1_700_000_000 + micros / 1_000_000, micros % 1_000_000, length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&frame);
    }
    std::fs::write(path, file).expect("capture written");
}

fn frame(number: u32, payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let sequence = u16::try_from(number % 65_536).expect("reduced");
    let marker = if number == 0 { 0x80 } else { 0 };
    let mut rtp = vec![0x80, marker | payload_type];
    rtp.extend_from_slice(&sequence.to_be_bytes());
    rtp.extend_from_slice(&(number * 160).to_be_bytes());
    rtp.extend_from_slice(&0x5157_0001_u32.to_be_bytes());
    rtp.extend_from_slice(payload);
    let udp_length = u16::try_from(rtp.len() + 8).expect("short");
    let mut out = vec![0; 12];
    out.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
    out.extend_from_slice(&(udp_length + 20).to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    for word in [6000_u16, 6002, udp_length, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.extend_from_slice(&rtp);
    out
}
