//! `trunkline demo`: a gateway, a phone and a call between them, on one machine, shown as it happens.
//!
//! The gateway is the same code as `serve`, started from a configuration file that the demo writes. The phone is a second
//! SIP user agent. The order goes the way of every integrator: a token from the box's own token endpoint, then
//! `POST /api.ashx/v1/calls` over HTTPS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Outcome, block_on};
use crate::clock::Clock;

mod client;
mod conversation;
mod gateway;
mod keep;
mod phone;
mod ports;
mod summary;
mod target;
mod terminal;
mod verdict;
mod view;

use client::Client;
use gateway::Gateway;
use phone::Phone;
use target::Target;
use terminal::{Terminal, Tint};

/// From the numbers that are reserved for fiction.
const DEFAULT_NUMBER: &str = "+12025550143";
/// What the box is told to say.
const PROMPT: &str = "Hello, this is the practice of Doctor Meyer, calling about your appointment. It has moved from \
                      Tuesday to Thursday at ten o'clock in the morning. Please bring your insurance card and arrive \
                      a few minutes early.";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Leave the gateway and the phone up afterwards, and print curl lines to use them by hand.
    #[arg(long)]
    keep: bool,
    /// Call this phone or PBX instead of the demo's own phone.
    #[arg(long, value_name = "SIP-URI")]
    phone: Option<String>,
    /// Folder with the speech model; .cache/model or /usr/share/trunkline/model when absent.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Where store, recording and transcript go; a new temporary folder when absent.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// The number that is called (E.164).
    #[arg(long, value_name = "NUMBER", default_value = DEFAULT_NUMBER)]
    number: String,
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    if !target::is_e164(&arguments.number) {
        return Err(format!("{:?} is not a number in E.164 form, e.g. {DEFAULT_NUMBER}", arguments.number));
    }
    block_on(Box::pin(demo(arguments)))
}

async fn demo(arguments: Arguments) -> Outcome {
    let clock = Clock::system();
    let mut terminal = Terminal::new();
    let model = find_model(arguments.model.as_deref())?;
    let folder = gateway::folder(arguments.output.clone(), &clock)?;
    let [box_ports, phone_ports] = ports::free_ranges()?;
    let phone = match arguments.phone {
        Some(_) => None,
        None => Some(Phone::start(clock.clone(), model.is_some(), phone_ports).await?),
    };
    let target = match (&arguments.phone, &phone) {
        (Some(uri), _) => Target::parse(uri)?,
        (None, Some(phone)) => Target::local(&arguments.number, phone.address()),
        (None, None) => return Err("there is nobody to call".into()),
    };
    let started = Gateway::start(&folder, model.as_deref(), &target, box_ports, clock.clone()).await;
    let outcome = match started {
        Err(problem) => Err(problem),
        Ok(gateway) => {
            introduce(&mut terminal, &gateway, &target, model.as_deref());
            let talked = Box::pin(conversation::hold(&mut terminal, &gateway, &target, &clock)).await;
            let kept = match (&talked, arguments.keep) {
                (Ok(()), true) => keep::keep(&mut terminal, &gateway, &target).await,
                _ => Ok(()),
            };
            gateway.app.stop(Duration::from_secs(2), std::future::pending()).await;
            talked.and(kept)
        }
    };
    if let Some(phone) = phone {
        phone.stop().await;
    }
    outcome
}

/// The named folder, or the first usual place that holds a model.
fn find_model(named: Option<&Path>) -> Result<Option<PathBuf>, String> {
    let holds_model = |folder: &Path| folder.join("model.bin").is_file();
    if let Some(folder) = named {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        return if holds_model(&folder) {
            Ok(Some(folder))
        } else {
            Err(format!("{} holds no speech model (model.bin); `make model` fetches one", folder.display()))
        };
    }
    let usual = [Path::new(".cache/model"), Path::new("/usr/share/trunkline/model")];
    Ok(usual.into_iter().find(|folder| holds_model(folder)).and_then(|folder| folder.canonicalize().ok()))
}

fn introduce(terminal: &mut Terminal, gateway: &Gateway, target: &Target, model: Option<&Path>) {
    terminal.heading("Trunkline demo");
    let mut row = |label: &str, text: &str| {
        let label = terminal.tint(Tint::Faint, &format!("  {label:<9}"));
        terminal.line(&format!("{label} {text}"));
    };
    row("gateway", &format!("https://{}:{}", gateway::HOST, gateway.https_address().port()));
    row("", &format!("SIP on UDP {}", gateway.app.sip_address()));
    row("phone", &format!("sip:{}@{}", target.user, target.host));
    if target.is_local() {
        row("", "the demo's own: SIP and RTP over UDP, it speaks with its own voice");
    }
    match model {
        Some(folder) => row("ears", &format!("Whisper, from {}", folder.display())),
        None => row("ears", "no speech model found (`make model` fetches it): the script listens to the keypad"),
    }
    row("folder", &gateway.folder.display().to_string());
}
