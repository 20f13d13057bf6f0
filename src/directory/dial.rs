//! The toll-fraud guard: which numbers the box may dial.
//!
//! | Number, in [`super::normalize`]d form | Verdict |
//! |---|---|
//! | not a telephone number | not whitelisted |
//! | begins with a deny prefix | denied, whatever else holds |
//! | begins with an allow prefix | allowed |
//! | on the organization's whitelist, and the list is not `fixed` | allowed |
//! | one of the organization's own inbound numbers, and the list is not `fixed` | allowed |
//! | anything else | not whitelisted |
//!
//! Prefixes are brought to the same form: `0049` and `+49` are one, and `1` means short numbers, never `+1…`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Directory;
use super::number::NUMBERS;
use super::phone::{comparable, normalize, prefix_form};
use crate::clock::UtcTime;
use crate::config::DialConfig;
use crate::store::{Change, StoreError, Table};

/// By organization and normalized number.
const WHITELIST: Table<(Uuid, String), Listed> = Table::new("dial_whitelist");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Listed {
    at: UtcTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialVerdict {
    Allowed,
    /// Neither whitelisted nor matched by an allow prefix.
    NotWhitelisted,
    /// A deny prefix matches.
    Denied,
}

/// The prefixes of the configuration, in normalized form.
pub(super) struct Rules {
    allow: Vec<String>,
    deny: Vec<String>,
    fixed: bool,
}

impl Rules {
    pub(super) fn new(config: &DialConfig) -> Rules {
        let forms = |prefixes: &[String]| prefixes.iter().filter_map(|prefix| prefix_form(prefix)).collect();
        Rules { allow: forms(&config.allow), deny: forms(&config.deny), fixed: config.fixed }
    }

    /// What the prefixes say; `None` when the whitelist decides.
    fn verdict(&self, number: &str) -> Option<DialVerdict> {
        let begins = |prefixes: &[String]| prefixes.iter().any(|prefix| number.starts_with(prefix.as_str()));
        match (begins(&self.deny), begins(&self.allow), self.fixed) {
            (true, _, _) => Some(DialVerdict::Denied),
            (false, true, _) => Some(DialVerdict::Allowed),
            (false, false, true) => Some(DialVerdict::NotWhitelisted),
            (false, false, false) => None,
        }
    }
}

impl Directory {
    /// Adds `number` to the organization's dial whitelist inside a change; `Ok(false)` when it was listed already, is
    /// one of its own inbound numbers, or is no telephone number.
    pub fn whitelist(
        change: &mut Change<'_>,
        organization: Uuid,
        number: &str,
        at: UtcTime,
    ) -> Result<bool, StoreError> {
        let Some(number) = normalize(number) else { return Ok(false) };
        let own = change.get(&NUMBERS, &(organization, comparable(&number)))?;
        let is_own = own.is_some_and(|kept| normalize(&kept.record.number).as_ref() == Some(&number));
        let key = (organization, number);
        if change.get(&WHITELIST, &key)?.is_some() {
            return Ok(false);
        }
        // An own number is listed too, so that it stays allowed when it is no longer answered here.
        change.put(&WHITELIST, &key, &Listed { at })?;
        Ok(!is_own)
    }

    /// The toll-fraud guard, asked by the dialer right before every INVITE.
    pub fn may_dial(&self, organization: Uuid, number: &str) -> Result<DialVerdict, StoreError> {
        let Some(number) = normalize(number) else { return Ok(DialVerdict::NotWhitelisted) };
        if let Some(verdict) = self.rules.verdict(&number) {
            return Ok(verdict);
        }
        let snapshot = self.store.read()?;
        let own = snapshot.get(&NUMBERS, &(organization, comparable(&number)))?;
        // Inbound numbers are found by their digits alone; what is dialled must be the same number as it is written.
        let is_own = own.is_some_and(|kept| normalize(&kept.record.number).as_ref() == Some(&number));
        if is_own || snapshot.get(&WHITELIST, &(organization, number))?.is_some() {
            return Ok(DialVerdict::Allowed);
        }
        Ok(DialVerdict::NotWhitelisted)
    }
}
