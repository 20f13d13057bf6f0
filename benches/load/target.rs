//! The gateway that is measured: the built one as a child with a configuration of its own, or one that runs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::dialer::Dialer;
use super::flags::{Flags, Kind};
use super::loopback;
use super::service::Service;
use super::support::process::tail;
use super::support::{Gateway, Setup, free_udp_port};

const CALLED: &str = "1000";
const NUMBER: &str = "\n[[number]]\nname = \"Load\"\nnumber = \"1000\"\nvisibility = \"public\"\n\
                      system_prompt = \"load\"\nmax_duration_seconds = 36000\n";

pub struct Target {
    child: Option<Gateway>,
    id: u32,
    pub dialer: Dialer,
    /// `None` with the gateway's own echo.
    pub service: Option<Service>,
}

impl Target {
    pub fn start(flags: &Flags) -> Result<Target, String> {
        let listen = if flags.sip.is_some() { flags.listen } else { ([127, 0, 0, 1], 0).into() };
        let wanted = flags.service != Kind::Engine;
        let service = wanted.then(|| Service::start(flags.service, listen, flags.tls)).transpose()?;
        if let (Some(sip), Some(id)) = (flags.sip, flags.pid) {
            let dialer = Dialer::new(sip, &flags.number, flags.from)?;
            return Ok(Target { child: None, id, dialer, service });
        }
        let port = free_udp_port();
        let own = SocketAddr::from(([127, 0, 0, 1], port));
        let mut setup = Setup::new().trunk("load", port, "max_calls = 10000").more(NUMBER);
        setup = setup.engine(if wanted { "media-stream" } else { "echo" });
        if let Some(service) = &service {
            let mut section = format!("\n[engine.media_stream]\nurl = \"{}\"\n", service.url);
            if let Some(file) = &service.authority {
                writeln!(section, "ca = \"{}\"", file.display()).expect("a string");
            }
            setup = setup.more(&section);
        }
        // The range of a fresh installation: a pair of ports rests two seconds before it is used again.
        setup.media = [20_000, 29_999];
        setup.media_threads = flags.threads;
        setup.log_level = "warn";
        let sip = loopback::only("the gateway's address", setup.sip)?;
        let child = setup.start();
        let dialer = Dialer::new(sip, CALLED, own)?;
        Ok(Target { id: child.process.id(), child: Some(child), dialer, service })
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Stops the gateway for a while, as a machine does that has no time for it.
    pub fn starve(&self, time: Duration) {
        if let Some(child) = &self.child {
            child.process.signal(Signal::SIGSTOP);
            std::thread::sleep(time);
            child.process.signal(Signal::SIGCONT);
        }
    }

    /// The end of the log of the gateway that was started here.
    pub fn log(&self) -> String {
        self.child.as_ref().map(|child| tail(&child.log(), 8)).unwrap_or_default()
    }
}
