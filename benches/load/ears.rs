//! The ears of the phones: one thread that the kernel wakes when a packet is there, so that each is timed at once and
//! waiting costs nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::line::{Heard, Line, Notes, locked};
use super::pulse::{Finder, microseconds};
use super::rtp::HEADER;

/// How long the thread may sleep on when the tool ends, milliseconds.
const NAP: u16 = 50;
const AT_ONCE: usize = 64;

type Lines = Mutex<HashMap<u32, (Arc<Line>, Finder)>>;

pub struct Ears {
    poll: Arc<Epoll>,
    lines: Arc<Lines>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ears {
    pub fn start(notes: Arc<Notes>) -> Ears {
        let poll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll"));
        let lines = Arc::new(Lines::default());
        let over = Arc::new(AtomicBool::new(false));
        let (waits, known, ends) = (Arc::clone(&poll), Arc::clone(&lines), Arc::clone(&over));
        let run = move || {
            let mut events = [EpollEvent::empty(); AT_ONCE];
            while !ends.load(Ordering::Relaxed) {
                let count = waits.wait(&mut events, EpollTimeout::from(NAP)).unwrap_or(0);
                let mut lines = locked(&known);
                for event in &events[..count] {
                    if let Some((line, finder)) = lines.get_mut(&(event.data() as u32)) {
                        hear(&notes, line, finder);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("ears".into()).spawn(run).expect("a thread");
        Ears { poll, lines, over, thread: Some(thread) }
    }

    pub fn add(&self, line: Arc<Line>) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, line.call.into());
        locked(&self.lines).insert(line.call, (Arc::clone(&line), Finder::default()));
        self.poll.add(&line.socket, event).expect("a socket to wait for");
    }

    pub fn remove(&self, call: u32) {
        if let Some((line, _)) = locked(&self.lines).remove(&call) {
            let _ = self.poll.delete(&line.socket);
        }
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One packet; the kernel tells again when there are more.
fn hear(notes: &Notes, line: &Line, finder: &mut Finder) {
    let mut buffer = [0; 2_048];
    let Ok((length, from)) = line.socket.recv_from(&mut buffer) else { return };
    let now = microseconds();
    if from != line.remote {
        return;
    }
    notes.received.fetch_add(1, Ordering::Relaxed);
    // Events of the telephone have another payload type; only sound is searched.
    let Some(sound) = buffer.get_mut(HEADER..length).filter(|_| length > HEADER) else { return };
    let Some(pulse) = finder.hear(sound) else { return };
    if pulse.call != line.call {
        notes.strays.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let last_leg = now.saturating_sub(pulse.stamp);
    let whole = pulse.path + last_leg;
    locked(&notes.heard).push(Heard { call: pulse.call, number: pulse.number, last_leg, whole });
}
