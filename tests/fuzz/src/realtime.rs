//! What a service that speaks OpenAI Realtime says, a message a line: whatever it is, the session goes on or says why not.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use trunkline::ai::openai::{Call, OpenAi, Service};
use trunkline::ai::remote::{Desk, Dialect, Line, Order};
use trunkline::ai::socket::Message;
use trunkline::ai::{Command, Event, SessionOptions};

static CALLS: LazyLock<[Call; 4]> = LazyLock::new(|| ["pcmu", "pcma", "pcm", "pcm-16000"].map(call));

fn call(format: &str) -> Call {
    let section = format!("url = 'ws://h/'\noutput_format = '{format}'\nreconnect_minutes = 1");
    let Ok(Ok(service)) = toml::from_str(&section).map(|config| Service::new(&config)) else {
        panic!("the settings are right")
    };
    service.call(&SessionOptions::new("x".into()))
}

/// The first octet chooses the form of the sound.
// Where time begins does not matter.
#[allow(clippy::disallowed_methods)]
pub fn run(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let mut dialect = OpenAi::new(CALLS[usize::from(first % 4)].clone());
    let mut desk = Desk::new(Instant::now());
    dialect.opened(Line::Live, &mut desk);
    for text in [r#"{"type":"session.created"}"#, r#"{"type":"session.updated"}"#] {
        dialect.read(Line::Live, Message::Text(text), &mut desk);
    }
    for line in data.split(|byte| *byte == b'\n') {
        dialect.read(Line::Live, Message::Binary(line), &mut desk);
        desk.now += Duration::from_secs(7);
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
