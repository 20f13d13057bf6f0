//! What is asked for on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::faults::Network;
use super::loopback;

/// More calls than one trunk of the gateway takes from one source.
const MOST_CALLS: usize = 900;

/// Calls towards a gateway of this machine, as phones place them, and what they cost.
#[derive(Debug, Clone, Parser, Serialize)]
#[command(name = "load", about, disable_version_flag = true)]
pub struct Flags {
    /// Live calls, step by step.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50,200")]
    pub calls: Vec<usize>,
    /// How long each step, or `--rate`, is measured.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// What the gateway connects the calls to.
    #[arg(long, value_enum, default_value_t = Kind::Echo)]
    pub service: Kind,
    /// So many calls get a stall, flood or deaf service, the others an echo; a tenth of them by default.
    #[arg(long)]
    pub troubled: Option<usize>,
    /// wss instead of ws.
    #[arg(long)]
    pub tls: bool,

    /// Percent of the phones' packets that are lost.
    #[arg(long, default_value_t = 0.0)]
    pub loss: f64,
    /// Longest further delay of a packet, milliseconds.
    #[arg(long, default_value_t = 0)]
    pub jitter: u64,
    /// Percent of the packets that the next one overtakes.
    #[arg(long, default_value_t = 0.0)]
    pub reorder: f64,
    /// Percent of the packets that come twice.
    #[arg(long, default_value_t = 0.0)]
    pub duplicate: f64,
    /// How much faster the phones' clocks run than the box's, parts in a million; may be negative.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    pub drift: f64,
    /// What the choices of the network begin with.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The gateway is stopped for so many milliseconds in the middle of each step.
    #[arg(long)]
    pub starve: Option<u64>,

    /// Instead of steps: so many calls a second are set up and ended again, whether the gateway keeps up or not.
    #[arg(long)]
    pub rate: Option<f64>,
    /// How long a call of `--rate` lives, milliseconds.
    #[arg(long, default_value_t = 500)]
    pub hold: u64,
    /// Instead of steps: how long a set-up takes, one at a time and sixteen at once.
    #[arg(long)]
    pub setup: bool,

    /// Media threads of the gateway; 0 = one for each core.
    #[arg(long, default_value_t = 0)]
    pub threads: usize,

    /// The SIP address of a gateway that runs; without it one is started.
    #[arg(long, requires = "pid")]
    pub sip: Option<SocketAddr>,
    /// The process of that gateway.
    #[arg(long, requires = "sip")]
    pub pid: Option<u32>,
    /// The address that its trunk expects calls from.
    #[arg(long, requires = "sip", default_value = "127.0.0.1:5070")]
    pub from: SocketAddr,
    /// The number that it answers.
    #[arg(long, requires = "sip", default_value = "1000")]
    pub number: String,
    /// Where its `[engine.media_stream] url` points to.
    #[arg(long, requires = "sip", default_value = "127.0.0.1:9099")]
    pub listen: SocketAddr,

    /// The figures go there, too.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub bench: bool,
}

/// How the service behaves towards the calls that it troubles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Frame by frame.
    Echo,
    /// 200 ms at once, then as long a pause.
    Bursts,
    /// Sends nothing for 500 ms every 5 s, then everything at once.
    Stall,
    /// Speech ten times faster than it can be played.
    Flood,
    /// Reads nothing any more.
    Deaf,
    /// The gateway's own echo, without a WebSocket.
    Engine,
}

impl Kind {
    /// Whether only some of the calls get it.
    pub fn is_trouble(self) -> bool {
        matches!(self, Kind::Stall | Kind::Flood | Kind::Deaf)
    }

    /// Whether what it hears comes back.
    pub fn answers(self) -> bool {
        !matches!(self, Kind::Flood | Kind::Deaf)
    }
}

impl Flags {
    /// What is wrong with them, in words.
    pub fn check(self) -> Result<Flags, String> {
        for (name, share) in [("--loss", self.loss), ("--reorder", self.reorder), ("--duplicate", self.duplicate)] {
            if !(0.0..=100.0).contains(&share) {
                return Err(format!("{name} is a share, from 0 to 100 percent, not {share}"));
            }
        }
        if !(-10_000.0..=10_000.0).contains(&self.drift) {
            return Err(format!("--drift {}: clocks differ by at most 10000 parts in a million", self.drift));
        }
        if self.calls.iter().any(|calls| !(1..=MOST_CALLS).contains(calls)) {
            return Err(format!("--calls goes from 1 to {MOST_CALLS}"));
        }
        if self.seconds == 0 || self.jitter > 1_000 || self.hold > 10_000 {
            return Err("--seconds begins at 1, --jitter ends at 1000 ms and --hold at 10000 ms".into());
        }
        if self.seconds < 4 && self.rate.is_none() && !self.setup {
            return Err("--seconds begins at 4 for steps: the last second is there for what is under way".into());
        }
        if self.rate.is_some_and(|rate| !(0.1..=5_000.0).contains(&rate)) {
            return Err("--rate goes from 0.1 to 5000 calls a second".into());
        }
        if self.rate.is_some_and(|rate| rate * self.hold as f64 / 1_000.0 > MOST_CALLS as f64) {
            return Err(format!("--rate times --hold is more than {MOST_CALLS} calls at once"));
        }
        if self.troubled.is_some() && !self.service.is_trouble() {
            return Err("--troubled goes with --service stall, flood or deaf".into());
        }
        if let Some(sip) = self.sip {
            for (name, address) in [("--sip", sip), ("--from", self.from), ("--listen", self.listen)] {
                loopback::only(name, address)?;
            }
            if self.starve.is_some() || self.tls {
                return Err("--starve and --tls go with a gateway that the tool starts itself, not with --sip".into());
            }
        }
        if self.starve.is_some_and(|starve| starve + 2_500 > self.seconds * 500) {
            return Err("--starve wants more --seconds: half of them must hold it and 2.5 s after it".into());
        }
        Ok(self)
    }

    pub fn network(&self) -> Network {
        Network {
            loss: self.loss,
            reorder: self.reorder,
            duplicate: self.duplicate,
            jitter: Duration::from_millis(self.jitter),
            seed: self.seed,
        }
    }

    /// How many of `calls` are troubled.
    pub fn troubled_of(&self, calls: usize) -> usize {
        if !self.service.is_trouble() {
            return 0;
        }
        self.troubled.unwrap_or_else(|| calls.div_ceil(10)).min(calls)
    }
}
