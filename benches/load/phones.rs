//! The mouths of the phones: a packet of each call every 20 ms of that call's own clock, on a thread of its own.
//!
//! Calls begin spread over the frame, as calls do. A loud pulse goes out once in 800 ms of each call, at another time
//! in each. The faults of the network lie between the phone and the socket.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ears::Ears;
use super::faults::{Faults, Network};
use super::line::{Line, Notes, Spoken, locked, place};
use super::pulse::{Pulse, microseconds};
use super::rtp::{self, FRAME, HEADER, PACKET, QUIET};

/// Frames from pulse to pulse: 800 ms.
const PULSE_EVERY: u32 = 40;
/// The first pulse comes after so many frames; by then the jitter buffer of the box has begun.
const FIRST_PULSE: u32 = 10;
/// A new call waits no longer than this for its first packet.
const NAP: Duration = Duration::from_millis(2);

enum Order {
    Add(Arc<Line>),
    Remove(u32),
}

/// Mouths and ears.
pub struct Phones {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    ears: Ears,
    pub notes: Arc<Notes>,
}

impl Phones {
    /// `drift`: how much faster than ours their clocks run, parts in a million.
    pub fn start(network: Network, drift: f64) -> Phones {
        let notes = Arc::new(Notes::default());
        let (orders, to_do) = mpsc::sync_channel(1_024);
        let mouths = Mouths {
            network,
            frame: FRAME.div_f64(1.0 + drift / 1e6),
            begun: Instant::now(),
            notes: Arc::clone(&notes),
            talking: HashMap::new(),
            agenda: BinaryHeap::new(),
            order: 0,
        };
        let thread = std::thread::Builder::new().name("mouths".into()).spawn(move || mouths.run(&to_do));
        let ears = Ears::start(Arc::clone(&notes));
        Phones { orders: Some(orders), thread: Some(thread.expect("a thread")), ears, notes }
    }

    pub fn add(&self, line: Line) {
        line.socket.set_nonblocking(true).expect("a socket");
        let line = Arc::new(line);
        self.ears.add(Arc::clone(&line));
        self.order(Order::Add(line));
    }

    pub fn remove(&self, call: u32) {
        self.order(Order::Remove(call));
        self.ears.remove(call);
    }

    fn order(&self, order: Order) {
        self.orders.as_ref().expect("open until the end").send(order).expect("the mouths live");
    }
}

impl Drop for Phones {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Talking {
    line: Arc<Line>,
    begun: Instant,
    frame: u32,
    pulses: u16,
    faults: Faults,
}

enum Action {
    /// The next frame of a call.
    Speak(u32),
    /// A packet that the network delayed.
    Deliver(Arc<Line>, Box<[u8; PACKET]>),
}

/// Ordered by time, then by when it was put down.
struct Entry(Instant, u64, Action);

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

struct Mouths {
    network: Network,
    frame: Duration,
    begun: Instant,
    notes: Arc<Notes>,
    talking: HashMap<u32, Talking>,
    agenda: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Mouths {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        // A sleep ends when it is asked to, not up to 50 µs later.
        let _ = nix::sys::prctl::set_timerslack(1_000);
        loop {
            let next = self.agenda.peek().map(|entry| entry.0.0);
            let order = match next {
                Some(_) => orders.try_recv(),
                None => orders.recv_timeout(NAP).map_err(|error| match error {
                    RecvTimeoutError::Timeout => TryRecvError::Empty,
                    RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                }),
            };
            match order {
                Ok(Order::Add(line)) => self.add(line),
                Ok(Order::Remove(call)) => drop(self.talking.remove(&call)),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let Some(due) = next else { continue };
            let wait = due.saturating_duration_since(Instant::now());
            if wait > NAP {
                std::thread::sleep(NAP);
            } else {
                std::thread::sleep(wait);
                if let Some(Reverse(Entry(due, _, action))) = self.agenda.pop() {
                    self.act(due, action);
                }
            }
        }
    }

    fn put(&mut self, at: Instant, action: Action) {
        self.order += 1;
        self.agenda.push(Reverse(Entry(at, self.order, action)));
    }

    fn add(&mut self, line: Arc<Line>) {
        let call = line.call;
        let faults = Faults::new(self.network, call);
        // The next time that this call's place in the frame comes.
        let place = place(call);
        let into = Duration::from_nanos((self.begun.elapsed().as_nanos() % FRAME.as_nanos()) as u64);
        let begun = Instant::now() + (place + FRAME - into);
        self.talking.insert(call, Talking { line, begun, frame: 0, pulses: 0, faults });
        self.put(begun, Action::Speak(call));
    }

    fn act(&mut self, due: Instant, action: Action) {
        match action {
            Action::Deliver(line, packet) => send(&self.notes, &line, &packet[..]),
            Action::Speak(call) => {
                let Some(talking) = self.talking.get_mut(&call) else { return };
                locked(&self.notes.lateness).record(due.elapsed());
                let mut packet = rtp::packet(talking.frame, call + 1, QUIET);
                let copies = talking.faults.pass(due.saturating_duration_since(self.begun));
                // Calls that began together do not pulse together, but for the first time: short calls must have one.
                let in_turn = talking.frame > PULSE_EVERY && (talking.frame + call * 7).is_multiple_of(PULSE_EVERY);
                if talking.frame == FIRST_PULSE || in_turn {
                    let pulse = Pulse { call, number: talking.pulses, stamp: microseconds(), path: 0 };
                    talking.pulses = talking.pulses.wrapping_add(1);
                    pulse.write(&mut packet[HEADER..]);
                    let lost = copies[0].is_none();
                    locked(&self.notes.spoken).push(Spoken { call, number: pulse.number, at: pulse.stamp, lost });
                }
                talking.frame += 1;
                if call >= self.notes.frames_from.load(Ordering::Relaxed) {
                    self.notes.frames.fetch_add(1, Ordering::Relaxed);
                }
                let (next, line) = (talking.begun + self.frame * talking.frame, Arc::clone(&talking.line));
                for leaves in copies.into_iter().flatten() {
                    let at = self.begun + leaves;
                    if at <= due {
                        send(&self.notes, &line, &packet);
                    } else {
                        self.put(at, Action::Deliver(Arc::clone(&line), Box::new(packet)));
                    }
                }
                self.put(next, Action::Speak(call));
            }
        }
    }
}

fn send(notes: &Notes, line: &Line, packet: &[u8]) {
    if line.socket.send_to(packet, line.remote).is_ok() {
        notes.sent.fetch_add(1, Ordering::Relaxed);
    }
}
