//! Many SIP calls towards the gateway from one socket and one thread, as a PBX would place them.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::loopback;
use super::message::{Way, code, header, offer, to_tag};

/// Callers are numbered from here, so that whoever hears the number knows which call it is.
pub const FIRST_CALLER: u64 = 900_000_000;
/// T1 of RFC 3261: a request is sent again after it, then after twice as long, and so on.
const RESEND: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(4);
const GIVE_UP: Duration = Duration::from_secs(32);
/// How often requests are looked through for those that have to be sent again.
const LOOK: Duration = Duration::from_millis(100);
/// So many refusals end a run that places refused calls again.
const MOST_REFUSALS: u64 = 1_000;
/// Not more BYEs at once than a socket buffer holds.
const LEAVING_AT_ONCE: usize = 50;

/// What happened to a call.
pub enum News {
    Answered(Answered),
    Refused(u32),
    /// The gateway answered our BYE.
    Left(u32),
    /// The gateway ended it.
    Ended(u32),
    /// No answer came.
    GaveUp(u32),
}

/// An answered call.
pub struct Answered {
    pub call: u32,
    /// Where the gateway wants our RTP.
    pub remote: SocketAddr,
    pub rtp: UdpSocket,
    /// From the INVITE to the 200.
    pub took: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inviting,
    /// It answered 1xx: the request need not be sent again.
    Ringing,
    Live,
    Leaving,
}

struct Call {
    number: u32,
    stage: Stage,
    begun: Instant,
    sent: Instant,
    wait: Duration,
    request: String,
    rtp: Option<UdpSocket>,
    offer: String,
    to_tag: String,
}

pub struct Dialer {
    socket: UdpSocket,
    way: Way,
    next: u32,
    calls: HashMap<String, Call>,
    looked: Instant,
    /// Calls that the gateway refused, by code.
    pub refused: BTreeMap<u16, u64>,
}

impl Dialer {
    pub fn new(target: SocketAddr, called: &str, own: SocketAddr) -> Result<Dialer, String> {
        let target = loopback::only("the gateway's address", target)?;
        let socket = UdpSocket::bind(own).map_err(|error| format!("cannot call from {own}: {error}"))?;
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        let way = Way { target, own, called: called.to_owned() };
        let (calls, looked) = (HashMap::new(), Instant::now());
        Ok(Dialer { socket, way, next: 0, calls, looked, refused: BTreeMap::new() })
    }

    /// The number that the next call gets; numbers are not used twice.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Calls, and does not wait for an answer.
    pub fn invite(&mut self) -> u32 {
        let (number, now) = (self.next, Instant::now());
        self.next += 1;
        let id = id(number);
        let rtp = UdpSocket::bind((self.way.own.ip(), 0)).expect("an RTP port");
        let offer = offer(rtp.local_addr().expect("bound"));
        let request = self.way.request("INVITE", &id, caller(number), "", &offer);
        self.send(&request);
        let (rtp, to_tag) = (Some(rtp), String::new());
        let stage = Stage::Inviting;
        self.calls.insert(id, Call { number, stage, begun: now, sent: now, wait: RESEND, request, rtp, offer, to_tag });
        number
    }

    /// Ends a live call, and does not wait for an answer.
    pub fn bye(&mut self, number: u32) {
        let id = id(number);
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.stage == Stage::Live) else { return };
        call.request = self.way.request("BYE", &id, caller(number), &call.to_tag, "");
        let now = Instant::now();
        (call.stage, call.begun, call.sent, call.wait) = (Stage::Leaving, now, now, RESEND);
        let request = call.request.clone();
        self.send(&request);
    }

    /// The next news, `None` when there are none until `end`.
    pub fn poll(&mut self, end: Instant) -> Result<Option<News>, String> {
        let mut buffer = [0; 8_192];
        loop {
            if let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if from == self.way.target
                    && let Some(news) = self.take(&message)?
                {
                    return Ok(Some(news));
                }
                continue;
            }
            let now = Instant::now();
            if let Some(gone) = self.look(now) {
                return Ok(Some(gone));
            }
            if now >= end {
                return Ok(None);
            }
            let wait = (end - now).min(LOOK);
            let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            // A signal that interrupts it is no harm: the loop looks again.
            let _ = ppoll(&mut ready, Some(TimeSpec::from_duration(wait)), None);
        }
    }

    /// Sends again what is unanswered; a call without any answer is given up.
    fn look(&mut self, now: Instant) -> Option<News> {
        if now - self.looked < LOOK {
            return None;
        }
        self.looked = now;
        let waits = |call: &Call| matches!(call.stage, Stage::Inviting | Stage::Leaving | Stage::Ringing);
        let lost = self.calls.iter().find(|(_, call)| waits(call) && now - call.begun > GIVE_UP);
        if let Some(id) = lost.map(|(id, _)| id.clone()) {
            return self.calls.remove(&id).map(|call| News::GaveUp(call.number));
        }
        let (socket, target) = (&self.socket, self.way.target);
        for call in self.calls.values_mut() {
            let repeats = matches!(call.stage, Stage::Inviting | Stage::Leaving);
            if repeats && now - call.sent >= call.wait {
                let _ = socket.send_to(call.request.as_bytes(), target);
                (call.sent, call.wait) = (now, (call.wait * 2).min(LONGEST));
            }
        }
        None
    }

    fn take(&mut self, message: &str) -> Result<Option<News>, String> {
        let (Some(id), Some(sequence)) = (header(message, "Call-ID"), header(message, "CSeq")) else { return Ok(None) };
        let method = sequence.split(' ').nth(1).unwrap_or_default();
        match code(message) {
            None => Ok(self.asked(message, id, method)),
            Some(code) if method == "INVITE" => self.invited(message, id, code),
            Some(200..) if method == "BYE" => Ok(self.calls.remove(id).map(|call| News::Left(call.number))),
            Some(_) => Ok(None),
        }
    }

    /// A request of the gateway: it may end the call, or ask whether we are still there.
    fn asked(&mut self, message: &str, id: &str, method: &str) -> Option<News> {
        if method == "ACK" {
            return None;
        }
        let offer = self.calls.get(id).filter(|_| method == "INVITE").map_or("", |call| &call.offer);
        self.send(&self.way.agree(message, offer));
        if method != "BYE" {
            return None;
        }
        let call = self.calls.remove(id)?;
        // Both said BYE at once: then it is over as we wanted.
        Some(if call.stage == Stage::Leaving { News::Left(call.number) } else { News::Ended(call.number) })
    }

    fn invited(&mut self, message: &str, id: &str, code: u16) -> Result<Option<News>, String> {
        let Some(call) = self.calls.get_mut(id) else { return Ok(None) };
        if code < 200 {
            if call.stage == Stage::Inviting {
                call.stage = Stage::Ringing;
            }
            return Ok(None);
        }
        let (number, tag) = (call.number, to_tag(message));
        if code >= 300 {
            self.send(&self.way.acknowledge_refusal(id, caller(number), &tag));
            let refused = self.calls.remove(id).is_some_and(|call| call.stage != Stage::Live);
            if refused {
                *self.refused.entry(code).or_default() += 1;
            }
            return Ok(refused.then_some(News::Refused(number)));
        }
        // A 200 that comes again is acknowledged again.
        self.send(&self.way.request("ACK", id, caller(number), &tag, ""));
        let Some(call) = self.calls.get_mut(id) else { return Ok(None) };
        let Some(rtp) = call.rtp.take() else { return Ok(None) };
        let took = call.begun.elapsed();
        (call.stage, call.to_tag) = (Stage::Live, tag);
        let body = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        match loopback::media(body) {
            Ok(remote) => Ok(Some(News::Answered(Answered { call: number, remote, rtp, took }))),
            Err(problem) => {
                self.bye(number);
                Err(problem)
            }
        }
    }

    fn send(&self, message: &str) {
        let _ = self.socket.send_to(message.as_bytes(), self.way.target);
    }

    /// Places `count` calls, at most `at_once` unanswered at a time, and leaves them up. What is refused is tried again.
    pub fn call(&mut self, count: usize, at_once: usize) -> Result<Vec<Answered>, String> {
        let (mut answered, mut placed) = (Vec::new(), 0);
        while answered.len() < count {
            while placed < count && placed - answered.len() < at_once {
                self.invite();
                placed += 1;
            }
            match self.poll(Instant::now() + LOOK)? {
                Some(News::Answered(call)) => answered.push(call),
                Some(News::Refused(_)) => {
                    placed -= 1;
                    if self.refused.values().sum::<u64>() > MOST_REFUSALS {
                        return Err(format!("refused too often: {:?}", self.refused));
                    }
                }
                Some(News::GaveUp(call)) => return Err(format!("no answer to the INVITE of call {call}")),
                Some(News::Ended(call)) => {
                    return Err(format!("the gateway ended call {call} as soon as it was there"));
                }
                Some(News::Left(_)) | None => {}
            }
        }
        Ok(answered)
    }

    /// Keeps the calls alive until `end`; those that the gateway ended.
    pub fn serve(&mut self, end: Instant) -> Result<Vec<u32>, String> {
        let mut ended = Vec::new();
        while let Some(news) = self.poll(end)? {
            if let News::Ended(call) = news {
                ended.push(call);
            }
        }
        Ok(ended)
    }

    /// Ends all live calls.
    pub fn leave(&mut self) -> Result<(), String> {
        let live = self.calls.values().filter(|call| call.stage == Stage::Live).map(|call| call.number);
        let mut live: Vec<u32> = live.collect();
        loop {
            let leaving = self.calls.values().filter(|call| call.stage == Stage::Leaving).count();
            match live.pop_if(|_| leaving < LEAVING_AT_ONCE) {
                Some(call) => self.bye(call),
                None if leaving == 0 => return Ok(()),
                None => {
                    if let Some(News::GaveUp(call)) = self.poll(Instant::now() + LOOK)? {
                        return Err(format!("no answer to the BYE of call {call}"));
                    }
                }
            }
        }
    }
}

fn id(number: u32) -> String {
    format!("load-{}-{number}", std::process::id())
}

fn caller(number: u32) -> u64 {
    FIRST_CALLER + u64::from(number)
}
