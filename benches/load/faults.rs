//! What a network does to the packets of a phone: a seeded choice for each packet, so that a run can be repeated.

use std::time::Duration;

use serde::Serialize;

/// A packet that is overtaken waits until the next one is gone.
const OVERTAKEN: Duration = Duration::from_millis(25);
/// The second of two equal packets follows so soon.
const TWIN: Duration = Duration::from_millis(2);

/// Which faults there are; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Network {
    /// Percent of the packets.
    pub loss: f64,
    pub reorder: f64,
    pub duplicate: f64,
    /// Longest further delay; packets stay in order.
    pub jitter: Duration,
    pub seed: u64,
}

/// The way of one phone's packets.
#[derive(Debug)]
pub struct Faults {
    network: Network,
    state: u64,
    /// When the last packet leaves that was not overtaken: jitter is a queue, not a shuffle.
    last: Duration,
}

impl Faults {
    /// `call` has a fate of its own under the same seed.
    pub fn new(network: Network, call: u32) -> Faults {
        let state = network.seed ^ (u64::from(call) + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
        Faults { network, state, last: Duration::ZERO }
    }

    /// When copies of a packet that is sent at `at` leave: none where it is lost, two where it is doubled. Times are
    /// counted from any one moment.
    pub fn pass(&mut self, at: Duration) -> [Option<Duration>; 2] {
        let network = self.network;
        let [lost, overtaken, doubled, late] = std::array::from_fn(|_| self.chance());
        if lost * 100.0 < network.loss {
            return [None, None];
        }
        let mut leaves = (at + network.jitter.mul_f64(late)).max(self.last);
        if overtaken * 100.0 < network.reorder {
            leaves += OVERTAKEN;
        } else {
            self.last = leaves;
        }
        [Some(leaves), (doubled * 100.0 < network.duplicate).then_some(leaves + TWIN)]
    }

    /// From 0 to just below 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
