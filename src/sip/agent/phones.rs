//! What the user agent keeps for registered phones and text messages.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::ring::Ringing;
use super::{CallKey, UserAgent};
use crate::sip::message::Response;
use crate::sip::registrar::{Location, Policy};
use crate::sip::transaction::ServerKey;

/// What phones and texts need beyond [`super::Settings`].
#[derive(Default)]
pub struct PhoneSettings {
    pub policy: Policy,
    /// Names of the trunks that carry text messages.
    pub texting: HashSet<String>,
    /// The value of Date (RFC 3261 §20.17).
    pub date: Option<Box<dyn Fn() -> String + Send>>,
}

#[derive(Default)]
pub(super) struct Phones {
    pub location: Location,
    pub texting: HashSet<String>,
    pub date: Option<Box<dyn Fn() -> String + Send>>,
    /// Calls that ring one or several phones, by the key that their owner knows.
    pub ringing: HashMap<CallKey, Ringing>,
    /// The call of each phone that is or was rung, to the call that its owner knows.
    pub branches: HashMap<CallKey, CallKey>,
    /// Texts that came in and wait for their answer: the answer without its verdict.
    pub unanswered: HashMap<ServerKey, Response>,
}

impl UserAgent {
    /// Takes phones in and texts, as the settings say.
    pub fn with_phones(mut self, settings: PhoneSettings) -> UserAgent {
        let PhoneSettings { policy, texting, date } = settings;
        self.phones = Phones { location: Location::new(policy), texting, date, ..Phones::default() };
        self
    }
}

/// How long a phone with RFC 5626 may leave its flow quiet (§4.4): below the memory of common NATs for TCP.
pub(super) const FLOW_TIMER: Duration = Duration::from_secs(120);
