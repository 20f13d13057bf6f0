//! A telephone that says given packets at their pace and keeps every packet that comes: for measurements of sound.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use trunkline::media::Codec;
use trunkline::media::rtp::Packet;

use super::caller::Caller;

const FRAME: Duration = Duration::from_millis(20);
/// How often the listening thread looks whether it is wanted.
const LOOK: Duration = Duration::from_millis(50);

/// A packet of the box.
#[derive(Debug, Clone)]
pub struct Got {
    pub at: Instant,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

/// What came of a conversation.
pub struct Conversation {
    /// When each packet of ours left, or would have left.
    pub said: Vec<Instant>,
    /// In order of their arrival.
    pub got: Vec<Got>,
}

/// Calls `called` at `target`, offers `codec` alone, and says `packets`, 20 ms each; `None` is lost on the way.
#[track_caller]
pub fn converse(target: SocketAddr, called: &str, codec: Codec, packets: &[Option<Vec<u8>>]) -> Conversation {
    let rtp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let caller = Caller::new();
    let standing = caller.stand(target, called, &offer(codec, rtp.local_addr().expect("bound").port()));
    let box_port =
        standing.session.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse().ok());
    let media = SocketAddr::new(target.ip(), box_port.expect("a port in the answer"));
    let over = Arc::new(AtomicBool::new(false));
    let listening = listen(rtp.try_clone().expect("a second handle"), codec, over.clone());
    let said = speak(&rtp, media, codec, packets);
    over.store(true, Ordering::Relaxed);
    let got = listening.join().expect("the listening thread ends");
    standing.hang_up();
    Conversation { said, got }
}

fn offer(codec: Codec, port: u16) -> String {
    let (kind, name) = (codec.payload_type(), codec.name());
    let channels = if codec == Codec::Opus { "/2" } else { "" };
    // The clock of G.722 is told as 8,000 (RFC 3551 §4.5.2).
    let clock = codec.clock();
    format!(
        "v=0\r\no=c 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {kind}\r\n\
         a=rtpmap:{kind} {name}/{clock}{channels}\r\na=ptime:20\r\n"
    )
}

fn speak(rtp: &UdpSocket, media: SocketAddr, codec: Codec, packets: &[Option<Vec<u8>>]) -> Vec<Instant> {
    let begin = Instant::now();
    let mut said = Vec::with_capacity(packets.len());
    for (n, payload) in (0u32..).zip(packets) {
        std::thread::sleep((begin + n * FRAME).saturating_duration_since(Instant::now()));
        said.push(Instant::now());
        let Some(payload) = payload else { continue };
        let (sequence, timestamp) = (1_000u16.wrapping_add(n as u16), 50_000 + n * codec.clock() / 50);
        let payload_type = codec.payload_type();
        let packet = Packet { marker: n == 0, payload_type, sequence, timestamp, ssrc: 4_711, payload };
        let mut datagram = vec![0; 12 + payload.len()];
        packet.write(&mut datagram).expect("room");
        rtp.send_to(&datagram, media).expect("sent");
    }
    said
}

fn listen(rtp: UdpSocket, codec: Codec, over: Arc<AtomicBool>) -> JoinHandle<Vec<Got>> {
    rtp.set_read_timeout(Some(LOOK)).expect("a timeout can be set");
    std::thread::spawn(move || {
        let (mut got, mut buffer) = (Vec::new(), [0; 2_048]);
        while !over.load(Ordering::Relaxed) {
            let Ok((length, _)) = rtp.recv_from(&mut buffer) else { continue };
            let at = Instant::now();
            let Ok(packet) = Packet::read(&buffer[..length]) else { continue };
            if packet.payload_type == codec.payload_type() {
                got.push(Got { at, timestamp: packet.timestamp, payload: packet.payload.to_vec() });
            }
        }
        got
    })
}
