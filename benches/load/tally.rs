//! From pulses spoken and heard to figures. Pure: what was written down goes in, numbers come out.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::line::{Heard, Spoken};
use super::report::{Spread, Summary};

/// A pulse that takes longer is late, for whoever listens notices it. The jitter of the faults comes on top.
pub const LATE: Duration = Duration::from_millis(60);

/// Of some of the calls of a step.
#[derive(Debug, Serialize)]
pub struct Figures {
    pub calls: usize,
    pub pulses: Pulses,
    /// From the phone to the service: as the phone spoke it, until the service read it.
    pub rtp_to_websocket: Summary,
    /// From the service to the phone: as the service sent it, until the phone's socket gave it.
    pub websocket_to_rtp: Summary,
    /// Both, without what the service held it back.
    pub whole: Summary,
    pub backlog: Backlog,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pulses {
    pub sent: usize,
    /// The faults took them.
    pub taken: usize,
    pub heard: usize,
    pub lost: usize,
    pub late: usize,
}

/// What stands in a queue and does not go away shows as a path that became longer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Backlog {
    pub first_quarter_ms: f64,
    pub last_quarter_ms: f64,
    pub growth_ms: f64,
}

/// What was written down in a step.
pub struct Record {
    pub spoken: Vec<Spoken>,
    pub at_service: Vec<Heard>,
    pub at_phone: Vec<Heard>,
}

type Key = (u32, u16);

impl Record {
    /// Of the pulses that calls for which `of` holds spoke within `window` (microseconds of the tool's clock).
    pub fn figures(&self, window: Range<u64>, calls: usize, of: impl Fn(u32) -> bool, late: Duration) -> Figures {
        let spoken: Vec<&Spoken> =
            self.spoken.iter().filter(|pulse| window.contains(&pulse.at) && of(pulse.call)).collect();
        let known: HashSet<Key> = spoken.iter().map(|pulse| (pulse.call, pulse.number)).collect();
        let (service, phone) = (first(&self.at_service, &known), first(&self.at_phone, &known));
        let taken = spoken.iter().filter(|pulse| pulse.lost).count();
        let pulses = Pulses {
            sent: spoken.len(),
            taken,
            heard: phone.len(),
            lost: (spoken.len() - taken).saturating_sub(phone.len()),
            late: phone.values().filter(|heard| Duration::from_micros(heard.whole) > late).count(),
        };
        let spread = |times: &HashMap<Key, &Heard>, time: fn(&Heard) -> u64| {
            times.values().map(|heard| Duration::from_micros(time(heard))).collect::<Spread>().summary()
        };
        let quarter = |part: Range<u64>| {
            let within = spoken.iter().filter(|pulse| part.contains(&pulse.at));
            let times = within.filter_map(|pulse| phone.get(&(pulse.call, pulse.number)));
            times.map(|heard| Duration::from_micros(heard.whole)).collect::<Spread>().summary().p50_ms
        };
        let length = (window.end - window.start) / 4;
        let first_quarter_ms = quarter(window.start..window.start + length);
        let last_quarter_ms = quarter(window.end - length..window.end);
        // The gateway's own echo has no leg to a service: what comes back comes as one.
        let alone = if service.is_empty() { HashMap::new() } else { phone.clone() };
        Figures {
            calls,
            pulses,
            rtp_to_websocket: spread(&service, |heard| heard.last_leg),
            websocket_to_rtp: spread(&alone, |heard| heard.last_leg),
            whole: spread(&phone, |heard| heard.whole),
            backlog: Backlog { first_quarter_ms, last_quarter_ms, growth_ms: last_quarter_ms - first_quarter_ms },
        }
    }
}

/// A packet that comes twice, or is stood in for, is heard once.
fn first<'a>(heard: &'a [Heard], known: &HashSet<Key>) -> HashMap<Key, &'a Heard> {
    let mut found = HashMap::new();
    for pulse in heard.iter().filter(|pulse| known.contains(&(pulse.call, pulse.number))) {
        found.entry((pulse.call, pulse.number)).or_insert(pulse);
    }
    found
}

impl Figures {
    pub fn print(&self, whose: &str, answers: bool) {
        let Pulses { sent, taken, heard, lost, late } = self.pulses;
        let expected = if answers { format!("{lost} lost, {late} late") } else { "none are sent back".into() };
        println!("      {whose}: pulses {sent} sent, {taken} taken by the network, {heard} heard, {expected}");
        if self.rtp_to_websocket.count > 0 {
            self.rtp_to_websocket.print("      RTP → WebSocket");
        }
        if answers {
            if self.websocket_to_rtp.count > 0 {
                self.websocket_to_rtp.print("      WebSocket → RTP");
            }
            self.whole.print("      whole path, the service's own time left out");
            let Backlog { first_quarter_ms, last_quarter_ms, growth_ms } = self.backlog;
            println!(
                "      backlog: first quarter {first_quarter_ms:.1} ms, last quarter {last_quarter_ms:.1} ms ({growth_ms:+.1} ms)"
            );
        }
    }
}
