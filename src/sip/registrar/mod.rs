//! The registrar of extensions (RFC 3261 §10.3): where a phone can be reached, and how a call rings all of its places.
//!
//! REGISTER requests that passed the digest, [`std::time::Instant`]s and the fate of probes flow in; bindings and
//! refusals flow out. Transactions, sockets and passwords are not known here.
//!
//! | REGISTER | Bindings of the extension | Answer |
//! |---|---|---|
//! | no Contact | as they are | 200 with all |
//! | a contact that is new | one more; at [`MAX_CONTACTS`] the one that ends first gives way | 200 with all |
//! | a contact that is known, under another Call-ID or a higher CSeq | replaced | 200 with all |
//! | a contact that is known, same Call-ID, CSeq not higher | as they are | 400 |
//! | same instance and reg-id as one (RFC 5626 §6) | that one is replaced, whatever its URI | 200 with all |
//! | expires 0 | that one goes | 200 with the rest |
//! | 0 < expires < [`SHORTEST`] | as they are | 423 with Min-Expires |
//! | expires above what is configured | granted as long as is configured | 200 with all |
//! | `*` with Expires: 0 | all go | 200 |
//! | `*` with another contact, or without Expires: 0 | as they are | 400 |
//!
//! A request is carried out whole or not at all. A binding is reached over the hop that it was registered from, and
//! over no other: behind a NAT or on a TCP connection there is no other way (RFC 5626 §5.3). It ends when its time is
//! over, when its connection is lost, and when it leaves [`DEAD_AFTER`] probes in a row unanswered.
//!
//! Bindings are kept in memory only. After a restart a phone is unreachable until it refreshes, which the granted time
//! bounds: that is why it is short by default.

pub mod fork;
pub mod location;
pub mod request;

use std::time::Duration;

pub use fork::Fork;
pub use location::{Binding, BindingId, Location};
pub use request::{Refusal, Registration, Wanted, Wish};

/// Contacts of one extension.
pub const MAX_CONTACTS: usize = 10;
/// Nobody may register more often than this makes necessary.
pub const SHORTEST: Duration = Duration::from_secs(60);
/// Unanswered probes in a row after which a phone is taken for dead.
pub const DEAD_AFTER: u32 = 2;

/// What the operator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Longest time that is granted, also when none is asked for.
    pub longest: Duration,
    /// How often each registered phone is probed with OPTIONS, which also keeps its NAT open; `None` = never.
    pub probe_every: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { longest: Duration::from_secs(300), probe_every: Some(Duration::from_secs(30)) }
    }
}
