//! The toll-fraud guard: which numbers the box may dial.
//!
//! | Number, in [`super::normalize`]d form | Verdict |
//! |---|---|
//! | not a telephone number | not whitelisted |
//! | begins with a deny prefix | denied, whatever else holds |
//! | is dear ([`super::premium`]) and no allow prefix names that | premium |
//! | begins with an allow prefix | allowed |
//! | on the organization's whitelist, and the list is not `fixed` | allowed |
//! | one of the organization's own inbound numbers, and the list is not `fixed` | allowed |
//! | anything else | not whitelisted |
//! | allowed so far, but outside the hours, or the day's minutes are used ([`super::policy`]) | outside hours, minutes used |
//!
//! Prefixes are brought to the same form: `0049` and `+49` are one, and `1` means short numbers, never `+1…`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Directory;
use super::number::NUMBERS;
use super::phone::{comparable, normalize, prefix_form};
use super::premium::premium;
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
    /// Premium rate or satellite, and no allow prefix names it.
    Premium,
    OutsideHours,
    /// The minutes of the day are used up.
    MinutesUsed,
}

impl DialVerdict {
    /// Refused whatever else holds; what is only not on the whitelist may still be reached inside the house.
    pub fn forbids(self) -> bool {
        !matches!(self, DialVerdict::Allowed | DialVerdict::NotWhitelisted)
    }

    /// For the record and for whoever asked.
    pub fn words(self) -> &'static str {
        match self {
            DialVerdict::Allowed => "allowed",
            DialVerdict::NotWhitelisted => "number is not on the dial whitelist",
            DialVerdict::Denied => "numbers with this prefix are not dialled",
            DialVerdict::Premium => "premium-rate and satellite numbers are not dialled",
            DialVerdict::OutsideHours => "calls are not placed at this hour",
            DialVerdict::MinutesUsed => "the minutes of outbound calls for this day are used up",
        }
    }
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
        let named = |dear: &str| self.allow.iter().any(|prefix| prefix.starts_with(dear) && number.starts_with(prefix));
        if !begins(&self.deny) && premium(number).is_some_and(|dear| !named(dear)) {
            return Some(DialVerdict::Premium);
        }
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

    /// The toll-fraud guard: the one function that every way to dial asks right before it dials (orders, transfers,
    /// redirections, messages).
    pub fn may_dial(&self, organization: Uuid, number: &str) -> Result<DialVerdict, StoreError> {
        self.judge(organization, number, false, self.store.clock().utc())
    }

    /// What [`Directory::may_dial`] will say at `at`, as far as that is known; with `listing`, to a number that is put on
    /// the whitelist before.
    pub fn may_order(
        &self,
        organization: Uuid,
        number: &str,
        listing: bool,
        at: UtcTime,
    ) -> Result<DialVerdict, StoreError> {
        self.judge(organization, number, listing, at)
    }

    fn judge(&self, organization: Uuid, number: &str, listing: bool, at: UtcTime) -> Result<DialVerdict, StoreError> {
        let Some(number) = normalize(number) else { return Ok(DialVerdict::NotWhitelisted) };
        let verdict = match self.rules.verdict(&number) {
            Some(verdict) => verdict,
            None if listing => DialVerdict::Allowed,
            None => self.listed(organization, number)?,
        };
        if verdict != DialVerdict::Allowed {
            return Ok(verdict);
        }
        Ok(self.judge_time(organization, at)?.unwrap_or(DialVerdict::Allowed))
    }

    /// What the hours and the day's minutes say to a call whose target the operator chose by hand.
    pub fn may_dial_now(&self, organization: Uuid) -> Result<DialVerdict, StoreError> {
        Ok(self.judge_time(organization, self.store.clock().utc())?.unwrap_or(DialVerdict::Allowed))
    }

    fn listed(&self, organization: Uuid, number: String) -> Result<DialVerdict, StoreError> {
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
