//! What Gemini Live says: whatever comes, the call is told a conversation that makes sense, and what is said to the service
//! is JSON.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use trunkline::ai::gemini::{Gemini, Service};
use trunkline::ai::remote::{Desk, Dialect, Line, Order};
use trunkline::ai::socket::{Message, SocketError};
use trunkline::ai::{CallerFrame, Command, Event, SessionOptions, Sound};

/// Messages, a line each. Lines that begin with a digit are our side: what the call does, time that passes, connections
/// that end.
pub fn run(data: &[u8]) {
    let mut scene = Scene::new();
    for line in data.split(|octet| *octet == b'\n') {
        match line.split_first() {
            Some((digit @ b'0'..=b'9', rest)) => scene.act(*digit, rest),
            _ => scene.hear(line),
        }
        scene.look();
        if scene.over {
            break;
        }
    }
}

struct Scene {
    gemini: Gemini,
    desk: Desk,
    next: bool,
    over: bool,
    ready: usize,
    /// Items with sound, and those of them whose end was told.
    sounded: HashSet<u64>,
    ended: HashSet<u64>,
}

impl Scene {
    #[allow(clippy::disallowed_methods)]
    fn new() -> Scene {
        static SERVICE: OnceLock<Option<Service>> = OnceLock::new();
        let service = SERVICE.get_or_init(|| {
            let config = toml::from_str("model = \"gemini-3.8-live\"\napi_key = \"k\"").ok()?;
            Service::new(&config).ok()
        });
        let Some(service) = service.clone() else { unreachable!("the settings are right") };
        let mut scene = Scene {
            gemini: Gemini::new(service, SessionOptions::new("Be kind.".into())),
            desk: Desk::new(Instant::now()),
            next: false,
            over: false,
            ready: 0,
            sounded: HashSet::new(),
            ended: HashSet::new(),
        };
        scene.gemini.opened(Line::Live, &mut scene.desk);
        scene
    }

    fn hear(&mut self, line: &[u8]) {
        self.gemini.read(Line::Live, Message::Binary(line), &mut self.desk);
    }

    fn act(&mut self, digit: u8, rest: &[u8]) {
        let text = || String::from_utf8_lossy(rest).into_owned();
        let command = match digit {
            b'0' => Command::Greet,
            b'1' => Command::Key('1'),
            b'2' => Command::ToolResult { id: text(), output: serde_json::json!({ "ok": true }) },
            b'3' => Command::Truncate { item: rest.len() as u64, played: Duration::from_millis(50) },
            b'4' => Command::Hold(true),
            b'5' => {
                self.desk.now += Duration::from_secs(1 + rest.len() as u64);
                if self.gemini.due().is_some_and(|due| due <= self.desk.now) {
                    self.gemini.on_time(&mut self.desk);
                    let due = self.gemini.due();
                    assert!(due.is_none_or(|due| due > self.desk.now), "what was due has been done");
                }
                return;
            }
            b'6' => {
                let code = if rest.is_empty() { 1006 } else { 1007 };
                let error = SocketError::Closed(code, String::new());
                match self.gemini.ended(&error, &mut self.desk) {
                    trunkline::ai::remote::Fate::Over(_) => self.over = true,
                    _ if std::mem::take(&mut self.next) => {}
                    _ => self.gemini.opened(Line::Live, &mut self.desk),
                }
                return;
            }
            b'7' if self.next => {
                self.gemini.read(Line::Next, Message::Binary(rest), &mut self.desk);
                return;
            }
            b'8' => {
                let mut out = Vec::new();
                let frame = CallerFrame::Linear { pcm: &[1; 160], rate: if rest.is_empty() { 8_000 } else { 16_000 } };
                if self.gemini.listens() {
                    self.gemini.speech(frame, self.desk.now, &mut out);
                }
                assert!(out.is_empty() || serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                return;
            }
            _ => return,
        };
        if self.gemini.is_ready() {
            self.gemini.command(command, &mut self.desk);
        }
    }

    fn look(&mut self) {
        let mut prepared = false;
        let next = &mut self.next;
        self.desk.orders(|order| match order {
            Order::Send(_, text) => {
                let message: serde_json::Value = match serde_json::from_slice(text) {
                    Ok(message) => message,
                    Err(problem) => panic!("{problem}: {}", String::from_utf8_lossy(text)),
                };
                assert_eq!(message.as_object().map(serde_json::Map::len), Some(1));
            }
            Order::Prepare => {
                assert!(!std::mem::replace(next, true), "one is enough");
                prepared = true;
            }
            Order::TakeOver | Order::Abandon => assert!(std::mem::take(next), "there is one"),
        });
        if prepared {
            self.gemini.opened(Line::Next, &mut self.desk);
        }
        while let Some(event) = self.desk.take_event() {
            match event {
                Event::Ready => self.ready += 1,
                Event::Audio(audio) => {
                    assert!(!audio.sound.span().is_zero() && !self.ended.contains(&audio.item));
                    assert!(matches!(&audio.sound, Sound::Linear { rate, .. } if (4_000..=192_000).contains(rate)));
                    self.sounded.insert(audio.item);
                    self.desk.keep(audio.sound);
                }
                Event::AudioEnd { item } => {
                    assert!(self.sounded.contains(&item) && self.ended.insert(item), "one end of what was heard");
                }
                _ => {}
            }
        }
        assert!(self.ready <= 1, "a call begins once");
    }
}
