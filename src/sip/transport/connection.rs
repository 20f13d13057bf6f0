//! One connection: bytes to frames, queue to bytes, and every way in which it ends.
//!
//! Reading and writing go on at once, so that a peer that does not read cannot keep us from reading. All waiting is bounded:
//! the time for one message from its first byte, the time without any, the time for one write, the time for a pong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use super::Hop;
use super::framing::{Alien, Frame, Framer, Refusal};
use super::trouble::Trouble;

/// What connections tell the driver.
#[derive(Debug)]
pub enum Arrival {
    Message {
        from: Hop,
        bytes: Bytes,
    },
    /// To be answered; nothing more comes from there.
    Refused {
        from: Hop,
        refusal: Refusal,
    },
    /// The peer's certificate carries the names of these trunks.
    Named {
        line: u64,
        trunks: Vec<super::TrunkId>,
    },
    /// `opened` tells whether it ever stood.
    Ended {
        line: u64,
        opened: bool,
        trouble: Trouble,
    },
}

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes of one message.
    pub bytes: usize,
    /// One message from its first byte to its last.
    pub message: Duration,
    /// Without a byte from a peer that was not let in yet.
    pub stranger: Duration,
    /// Without a byte either way.
    pub idle: Duration,
    /// One write.
    pub write: Duration,
    /// Between two pings of ours; none when absent.
    pub ping: Option<Duration>,
    /// For its pong, once the peer has shown that it answers them.
    pub pong: Duration,
    /// For the answer to a message that ends the connection.
    pub last_word: Duration,
}

/// Which of the two ends opened it.
#[derive(Debug, Clone)]
pub enum Side {
    /// The flag is set when the peer is no stranger any more.
    Peer(Arc<AtomicBool>),
    Ours,
}

/// Bytes taken from the socket at a time.
const CHUNK: usize = 4096;
/// Pongs that a peer may be owed.
const MOST_PONGS: u32 = 8;
/// What is still read of a peer that was refused, lest the system answers it with a reset that overtakes our answer.
const LAST_BYTES: usize = 256 * 1024;

/// What reading and writing know of each other.
#[derive(Default)]
struct Pulse {
    written: AtomicU64,
    wrote: Notify,
    owed: AtomicU32,
    owe: Notify,
    pongs: AtomicU64,
    /// A ping of ours is out.
    waiting: AtomicBool,
}

/// Serves until it ends, and says why.
pub async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    from: Hop,
    side: Side,
    mut queue: mpsc::Receiver<Bytes>,
    arrivals: &mpsc::Sender<Arrival>,
    pace: Pace,
) -> Trouble {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let pulse = Pulse::default();
    let ping = pace.ping.filter(|_| matches!(side, Side::Ours));
    let trouble = tokio::select! {
        trouble = read(&mut reader, from, &side, &pulse, arrivals, pace) => trouble,
        trouble = write(&mut writer, &mut queue, ping, &pulse, pace) => trouble,
    };
    // FIN, or close_notify and FIN; whoever does not take it is dropped.
    let _ = timeout(pace.last_word, writer.shutdown()).await;
    if trouble == Trouble::Malformed {
        let _ = timeout(pace.last_word, discard(&mut reader)).await;
    }
    trouble
}

async fn read<S: AsyncRead>(
    reader: &mut ReadHalf<S>,
    from: Hop,
    side: &Side,
    pulse: &Pulse,
    arrivals: &mpsc::Sender<Arrival>,
    pace: Pace,
) -> Trouble {
    let mut framer = Framer::new(pace.bytes);
    let mut quiet = Box::pin(sleep(patience(side, &pace)));
    let mut message = None;
    let mut written = 0;
    loop {
        framer.buffer().reserve(CHUNK);
        let late = async {
            match message.as_mut() {
                Some(timer) => timer.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = reader.read_buf(framer.buffer()) => match read {
                Ok(0) => return Trouble::Closed,
                Ok(_) => quiet.set(sleep(patience(side, &pace))),
                Err(error) => return Trouble::of(&error),
            },
            () = late => return Trouble::Slow,
            () = &mut quiet => {
                // What we said, or that the peer was let in, since the wait began.
                let now = pulse.written.load(Ordering::Acquire);
                if now == written {
                    return Trouble::Idle;
                }
                written = now;
                quiet.set(sleep(patience(side, &pace)));
                continue;
            }
        }
        let mut ended = false;
        while let Some(frame) = framer.next() {
            ended = true;
            if frame == Frame::Pong && pulse.waiting.swap(false, Ordering::AcqRel) {
                pulse.pongs.fetch_add(1, Ordering::AcqRel);
                framer.answered();
                continue;
            }
            if let Some(trouble) = take(frame, from, pulse, arrivals, reader, pace).await {
                return trouble;
            }
        }
        match framer.is_partial() {
            true if ended || message.is_none() => message = Some(Box::pin(sleep(pace.message))),
            true => {}
            false => message = None,
        }
    }
}

fn patience(side: &Side, pace: &Pace) -> Duration {
    match side {
        Side::Peer(known) if !known.load(Ordering::Acquire) => pace.stranger,
        Side::Peer(_) | Side::Ours => pace.idle,
    }
}

/// Passes a frame on; `Some` when it is the last.
async fn take<S: AsyncRead>(
    frame: Frame,
    from: Hop,
    pulse: &Pulse,
    arrivals: &mpsc::Sender<Arrival>,
    reader: &mut ReadHalf<S>,
    pace: Pace,
) -> Option<Trouble> {
    match frame {
        // The driver is gone when nobody takes it, and then so is the queue.
        Frame::Message(bytes) => {
            let _ = arrivals.send(Arrival::Message { from, bytes }).await;
            None
        }
        // The first half of a ping, or nothing.
        Frame::Pong => None,
        Frame::Ping => {
            pulse.owe();
            None
        }
        Frame::Refused(refusal) => {
            let before = pulse.written.load(Ordering::Acquire);
            let _ = arrivals.send(Arrival::Refused { from, refusal }).await;
            let answered = async {
                while pulse.written.load(Ordering::Acquire) == before {
                    pulse.wrote.notified().await;
                }
            };
            let last_word = async {
                tokio::select! { () = answered => {}, () = discard(reader) => {} }
            };
            let _ = timeout(pace.last_word, last_word).await;
            Some(Trouble::Malformed)
        }
        Frame::Alien(Alien::Tls) => Some(Trouble::TlsOnTcp),
        Frame::Alien(Alien::NotSip) => Some(Trouble::NotSip),
    }
}

/// Reads what nobody wants until the end, or for ever when that is far.
async fn discard<S: AsyncRead>(reader: &mut ReadHalf<S>) {
    let (mut buffer, mut total) = (vec![0; CHUNK], 0);
    while total < LAST_BYTES {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(length) => total += length,
        }
    }
    std::future::pending().await
}

async fn write<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    queue: &mut mpsc::Receiver<Bytes>,
    ping: Option<Duration>,
    pulse: &Pulse,
    pace: Pace,
) -> Trouble {
    let mut pings =
        ping.map(|every| Pings { every, timer: Box::pin(sleep(spread(every))), waiting: None, answers: false });
    loop {
        let due = async {
            match pings.as_mut() {
                Some(pings) => pings.timer.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let put = tokio::select! {
            message = queue.recv() => match message {
                None => return Trouble::Closed,
                Some(bytes) => {
                    let put = put(writer, &bytes, pace.write).await;
                    pulse.wrote();
                    put
                }
            },
            () = pulse.owe.notified() => {
                let pongs = pulse.owed.swap(0, Ordering::AcqRel).min(MOST_PONGS);
                put(writer, &b"\r\n".repeat(pongs as usize), pace.write).await
            }
            () = due => match pings.as_mut().map(|pings| pings.turn(pulse.pongs.load(Ordering::Acquire), pace.pong)) {
                Some(Turn::Ping) => {
                    pulse.waiting.store(true, Ordering::Release);
                    put(writer, b"\r\n\r\n", pace.write).await
                }
                Some(Turn::Dead) => return Trouble::Dead,
                Some(Turn::Wait) | None => Ok(()),
            },
        };
        if let Err(trouble) = put {
            return trouble;
        }
    }
}

async fn put<S: AsyncWrite>(writer: &mut WriteHalf<S>, bytes: &[u8], limit: Duration) -> Result<(), Trouble> {
    let all = async {
        writer.write_all(bytes).await?;
        writer.flush().await
    };
    match timeout(limit, all).await {
        Ok(written) => written.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::Stuck),
    }
}

/// Our keep-alives (RFC 5626 §3.5.1). A peer that never answered one is not expected to.
struct Pings {
    every: Duration,
    timer: std::pin::Pin<Box<tokio::time::Sleep>>,
    /// A ping is out; the number of pongs before it.
    waiting: Option<u64>,
    answers: bool,
}

enum Turn {
    Ping,
    Wait,
    Dead,
}

impl Pings {
    fn turn(&mut self, pongs: u64, patience: Duration) -> Turn {
        let (turn, next) = match self.waiting.take() {
            None => {
                self.waiting = Some(pongs);
                (Turn::Ping, patience)
            }
            Some(before) if pongs == before && self.answers => (Turn::Dead, self.every),
            Some(before) => {
                self.answers |= pongs != before;
                (Turn::Wait, spread(self.every))
            }
        };
        self.timer.set(sleep(next));
        turn
    }
}

/// Between 80 and 100 % of `span`, so that connections opened at once do not ping at once (RFC 5626 §4.4.1).
fn spread(span: Duration) -> Duration {
    span.mul_f64(0.8 + 0.2 * f64::from(rand::random::<u16>()) / f64::from(u16::MAX))
}

impl Pulse {
    fn wrote(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
        self.wrote.notify_one();
    }

    fn owe(&self) {
        self.owed.fetch_add(1, Ordering::AcqRel);
        self.owe.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
