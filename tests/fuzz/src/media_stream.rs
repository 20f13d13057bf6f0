//! What a bot says, a message a line, in each of the spellings: whatever it is, the stream goes on.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use trunkline::ai::media_stream::{MediaStream, Service};
use trunkline::ai::remote::{Desk, Dialect, Line, Order};
use trunkline::ai::socket::Message;
use trunkline::ai::{CallerFrame, Command, Event, SessionOptions};

static SERVICES: LazyLock<[Service; 3]> = LazyLock::new(|| ["twilio", "telnyx", "plivo"].map(service));

fn service(dialect: &str) -> Service {
    let section = format!("url = 'ws://h/'\ndialect = '{dialect}'");
    let Ok(Ok(service)) = toml::from_str(&section).map(|config| Service::new(&config)) else {
        panic!("the settings are right")
    };
    service
}

/// The first octet chooses the spelling.
// Where time begins does not matter.
#[allow(clippy::disallowed_methods)]
pub fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let mut stream = MediaStream::new(&SERVICES[usize::from(first % 3)], SessionOptions::new("x".into()));
    let mut desk = Desk::new(Instant::now());
    stream.opened(Line::Live, &mut desk);
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(text) = std::str::from_utf8(line) else { continue };
        stream.read(Line::Live, Message::Text(text), &mut desk);
        let mut octets = 0;
        while let Some(event) = desk.take_event() {
            match event {
                Event::Audio(audio) => octets += audio.sound.span().as_micros() as usize / 125,
                Event::AudioEnd { item } if item % 2 == 0 => stream.command(Command::Played { item }, &mut desk),
                Event::AudioEnd { item } => {
                    stream.command(Command::Truncate { item, played: Duration::from_secs(1) }, &mut desk);
                }
                Event::Ended => panic!("a message ends nothing"),
                _ => {}
            }
        }
        assert!(octets <= line.len(), "sound from nowhere");
        stream.command(Command::Key('5'), &mut desk);
        let mut speech = Vec::new();
        stream.speech(CallerFrame::Ulaw(line), desk.now, &mut speech);
        assert!(serde_json::from_slice::<serde_json::Value>(&speech).is_ok(), "what goes out is JSON");
        desk.orders(|order| {
            if let Order::Send(_, text) = order {
                assert!(serde_json::from_slice::<serde_json::Value>(text).is_ok(), "what goes out is JSON");
            }
        });
    }
}
