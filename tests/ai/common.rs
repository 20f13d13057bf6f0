//! A telephone in virtual time: feeds a session 20 ms frames, plays what it says, flushes when it is told to.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use trunkline::ai::{CallerFrame, Command, Engines, Event, Session, SessionOptions};
use trunkline::clock::{Clock, UtcTime};
use trunkline::config::{ChatConfig, EngineConfig};
use trunkline::speech::Speech;

pub const FRAME: Duration = Duration::from_millis(20);
/// Real time that a session's threads are given for each frame of virtual time.
const GRACE: Duration = Duration::from_millis(2);

pub fn options(instructions: &str) -> SessionOptions {
    let (voice, language) = ("Aoede".into(), "en-US".into());
    SessionOptions { voice, language, ..SessionOptions::new(instructions.into()) }
}

/// A service's certificate, in a file for those who are to trust it, and what accepts with it.
pub fn tls() -> (tempfile::TempDir, PathBuf, tokio_rustls::TlsAcceptor) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("valid");
    let certificate = params.self_signed(&key).expect("signed");
    let pem = folder.path().join("service.pem");
    std::fs::write(&pem, certificate.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().expect("a key"))
        .expect("a pair");
    (folder, pem, tokio_rustls::TlsAcceptor::from(Arc::new(tls)))
}

pub struct Phone {
    session: Box<dyn Session>,
    pub clock: Clock,
    start: Instant,
    waker: Waker,
    woken: Arc<Woken>,
    /// What the caller is going to say, 8 kHz.
    line: VecDeque<i16>,
    playout: VecDeque<Item>,
    /// All events so far with their virtual times.
    pub events: Vec<(Duration, Event)>,
    pub flushes: usize,
}

struct Item {
    number: u64,
    left: Duration,
    played: Duration,
    ended: bool,
}

struct Woken {
    thread: Thread,
    set: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.set.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Phone {
    pub fn new(speech: Speech, chat: Option<ChatConfig>, options: SessionOptions) -> Phone {
        let clock = Clock::manual(UtcTime(0));
        let config = EngineConfig { chat, ..EngineConfig::default() };
        let session = Engines::start(&config, speech, clock.clone()).session(options)();
        let woken = Arc::new(Woken { thread: std::thread::current(), set: AtomicBool::new(false) });
        let start = clock.now();
        Phone {
            session,
            clock,
            start,
            waker: Waker::from(woken.clone()),
            woken,
            line: VecDeque::new(),
            playout: VecDeque::new(),
            events: Vec::new(),
            flushes: 0,
        }
    }

    pub fn command(&mut self, command: Command) {
        self.session.command(command);
    }

    /// The caller will say this next.
    pub fn speak(&mut self, pcm: &[i16]) {
        self.line.extend(pcm);
    }

    pub fn now(&self) -> Duration {
        self.clock.now() - self.start
    }

    pub fn at(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.start)
    }

    /// Runs until an event fits; panics after `most` virtual time. Returns the event.
    pub fn until(&mut self, most: Duration, fits: impl Fn(&Event) -> bool) -> Event {
        let end = self.now() + most;
        let mut seen = self.events.len();
        loop {
            self.poll();
            if let Some((_, event)) = self.events[seen..].iter().find(|(_, event)| fits(event)) {
                return event.clone();
            }
            seen = self.events.len();
            assert!(self.now() < end, "not within {most:?}; events: {:#?}", self.words());
            self.tick();
        }
    }

    /// Runs for `span`.
    pub fn run(&mut self, span: Duration) {
        let end = self.now() + span;
        while self.now() < end {
            self.poll();
            self.tick();
        }
        self.poll();
    }

    /// Runs until nothing is left to be played.
    pub fn until_played(&mut self, most: Duration) {
        self.until(most, |event| matches!(event, Event::TurnEnd));
        let end = self.now() + most;
        while !self.playout.is_empty() {
            assert!(self.now() < end, "still playing");
            self.tick();
            self.poll();
        }
    }

    pub fn is_playing(&self) -> bool {
        !self.playout.is_empty()
    }

    fn poll(&mut self) {
        loop {
            self.woken.set.store(false, Ordering::SeqCst);
            while let Poll::Ready(event) = self.session.poll_event(&mut Context::from_waker(&self.waker)) {
                self.take(&event);
                self.events.push((self.now(), event.clone()));
                if event == Event::Ended {
                    return;
                }
            }
            if !self.woken.set.load(Ordering::SeqCst) {
                std::thread::park_timeout(GRACE);
            }
            if !self.woken.set.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Audio(audio) => {
                let left = audio.sound.span();
                self.playout.push_back(Item { number: audio.item, left, played: Duration::ZERO, ended: false });
            }
            Event::AudioEnd { item } => {
                self.playout.iter_mut().filter(|queued| queued.number == *item).for_each(|queued| queued.ended = true);
            }
            Event::SpeechStarted { .. } => {
                self.flushes += 1;
                for item in self.playout.drain(..) {
                    let truncate = Command::Truncate { item: item.number, played: item.played };
                    self.session.command(truncate);
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self) {
        let frame: Vec<i16> = (0..160).map(|_| self.line.pop_front().unwrap_or(0)).collect();
        let at = self.clock.now();
        self.clock.advance(FRAME);
        let mut room = FRAME;
        while let Some(item) = self.playout.front_mut() {
            let played = room.min(item.left);
            item.left -= played;
            item.played += played;
            room -= played;
            if !item.left.is_zero() {
                break;
            }
            let (number, ended) = (item.number, item.ended);
            self.playout.pop_front();
            assert!(ended, "an item must be closed");
            self.session.command(Command::Played { item: number });
        }
        self.session.hear(CallerFrame::Linear { pcm: &frame, rate: 8_000 }, at);
    }

    /// What the agent said, a sentence an element.
    pub fn said(&self) -> Vec<String> {
        self.texts(|event| match event {
            Event::AgentText { text, .. } => Some(text.clone()),
            _ => None,
        })
    }

    /// What the caller was understood to say.
    pub fn understood(&self) -> String {
        let texts = self.texts(|event| match event {
            Event::CallerText { text, .. } => Some(text.clone()),
            _ => None,
        });
        texts.join(" ").to_lowercase()
    }

    fn texts(&self, pick: impl Fn(&Event) -> Option<String>) -> Vec<String> {
        self.events.iter().filter_map(|(_, event)| pick(event)).collect()
    }

    /// Events without samples, for messages of failed tests.
    pub fn words(&self) -> Vec<String> {
        let show = |(at, event): &(Duration, Event)| match event {
            Event::Audio(audio) => format!("{at:?} audio of {} ({:?})", audio.item, audio.sound.span()),
            other => format!("{at:?} {other:?}"),
        };
        self.events.iter().map(show).collect()
    }
}

pub fn is_hang_up(event: &Event) -> bool {
    matches!(event, Event::HangUp { .. })
}
