//! What a service that speaks OpenAI Live says, a message a line: whatever it is, the session goes on or says why not.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use trunkline::ai::openai_live::{Call, OpenAiLive, Service};
use trunkline::ai::remote::{Desk, Dialect, Line, Order};
use trunkline::ai::socket::Message;
use trunkline::ai::{Command, Event, SessionOptions};
use trunkline::clock::UtcTime;

static CALLS: LazyLock<[Call; 4]> = LazyLock::new(|| ["pcmu", "pcma", "pcm", "pcm-16000"].map(call));

fn call(format: &str) -> Call {
    let section = format!("url = 'ws://h/'\nmodel = 'm'\nbackend_model = 'b'\nformat = '{format}'");
    let Ok(Ok(service)) = toml::from_str(&section).map(|config| Service::new(&config)) else {
        panic!("the settings are right")
    };
    service.call(&SessionOptions::new("x".into()), None)
}

/// The first octet chooses the form of the sound.
// Where time begins does not matter.
#[allow(clippy::disallowed_methods)]
pub fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let now = Instant::now();
    let mut dialect = OpenAiLive::new(CALLS[usize::from(first % 4)].clone(), (now, UtcTime(0)));
    let mut desk = Desk::new(now);
    dialect.opened(Line::Live, &mut desk);
    let started = r#"{"type":"session.started","session":{"expires_at":300}}"#;
    dialect.read(Line::Live, Message::Text(started), &mut desk);
    for line in data.split(|byte| *byte == b'\n') {
        dialect.read(Line::Live, Message::Binary(line), &mut desk);
        desk.now += Duration::from_millis(700);
        if dialect.due().is_some_and(|due| due <= desk.now) {
            dialect.on_time(&mut desk);
        }
        let mut octets = 0;
        let mut ended = false;
        while let Some(event) = desk.take_event() {
            match event {
                Event::Audio(audio) => {
                    octets += audio.sound.span().as_micros() as usize / 125;
                    dialect.command(Command::Truncate { item: audio.item, played: Duration::from_secs(1) }, &mut desk);
                }
                Event::ToolCall { id, .. } => {
                    dialect.command(Command::ToolResult { id, output: serde_json::Value::Null }, &mut desk);
                }
                Event::SpeechStarted { .. } => panic!("there are no turns that could flush anything"),
                Event::Ended => ended = true,
                _ => {}
            }
        }
        assert!(octets <= line.len() + 8, "sound from nowhere");
        desk.orders(|order| {
            if let Order::Send(_, text) = order {
                assert!(serde_json::from_slice::<serde_json::Value>(text).is_ok(), "what goes out is JSON");
            }
        });
        if ended {
            return;
        }
    }
}
