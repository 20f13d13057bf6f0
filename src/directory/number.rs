use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::declared::{Kept, remove_undeclared};
use super::phone::comparable;
use super::{Directory, Organization};
use crate::clock::Clock;
use crate::config::{NumberConfig, NumberMode, Visibility};
use crate::store::{Change, Order, StoreError, Table};

/// By organization and the digits that inbound calls are compared by.
pub(super) const NUMBERS: Table<(Uuid, String), Kept<Number>> = Table::new("numbers");

/// An inbound number answered by the box.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Number {
    pub id: Uuid,
    pub organization: Uuid,
    pub name: String,
    pub number: String,
    pub mode: NumberMode,
    /// As written: text or slug. Resolve with [`Directory::resolve_prompt`] at every call. Empty where there is an agent.
    pub system_prompt: String,
    /// Name of the agent that takes its calls; resolved at every call.
    #[serde(default)]
    pub agent: Option<String>,
    pub voice: String,
    pub language: String,
    pub visibility: Visibility,
    pub save_transcripts: bool,
    pub record_calls: bool,
    pub max_duration_seconds: u32,
    pub email: Option<String>,
    /// The person that a caller may ask for.
    #[serde(default)]
    pub transfer_to: Option<String>,
    #[serde(default)]
    pub transfer_whisper: bool,
}

impl Directory {
    /// In the order of their digits.
    pub fn numbers(&self, organization: Uuid) -> Result<Vec<Number>, StoreError> {
        let mut numbers = Vec::new();
        self.store.read()?.scan_prefix(&NUMBERS, &organization, Order::Ascending, &mut |_, kept| {
            numbers.push(kept.record);
            true
        })?;
        Ok(numbers)
    }

    /// The number record that an inbound call to `called` reaches; `+49…`, `0049…` and bare digits are compared alike.
    pub fn number_for(&self, called: &str) -> Result<Option<Number>, StoreError> {
        let key = (self.organization.id, comparable(called));
        Ok(self.store.read()?.get(&NUMBERS, &key)?.map(|kept| kept.record))
    }

    /// Creates or replaces the record of a number (key: organization and digits) that is not declared in the file.
    pub fn put_number(change: &mut Change<'_>, number: &Number) -> Result<(), StoreError> {
        let key = (number.organization, comparable(&number.number));
        change.put(&NUMBERS, &key, &Kept::made(number.clone()))
    }
}

/// A declared number keeps the id that the same digits had before, whoever made them.
pub(super) fn declare(
    change: &mut Change<'_>,
    organization: &Organization,
    declared: &[NumberConfig],
    clock: &Clock,
) -> Result<(), StoreError> {
    let mut digits = HashSet::new();
    for number in declared {
        let key = (organization.id, comparable(&number.number));
        let id = change.get(&NUMBERS, &key)?.map_or_else(|| clock.id(), |kept| kept.record.id);
        change.put(&NUMBERS, &key, &Kept::declared(record(organization, number, id)))?;
        digits.insert(key.1);
    }
    remove_undeclared(change, &NUMBERS, organization.id, &digits)
}

fn record(organization: &Organization, declared: &NumberConfig, id: Uuid) -> Number {
    Number {
        id,
        organization: organization.id,
        name: declared.name.clone(),
        number: declared.number.clone(),
        mode: declared.mode,
        system_prompt: declared.system_prompt.clone(),
        agent: declared.agent.clone(),
        voice: declared.voice.clone().unwrap_or_else(|| organization.voice.clone()),
        language: declared.language.clone().unwrap_or_else(|| organization.language.clone()),
        visibility: declared.visibility,
        save_transcripts: declared.save_transcripts,
        record_calls: declared.record_calls,
        max_duration_seconds: declared.max_duration_seconds,
        email: declared.email.clone(),
        transfer_to: declared.transfer_to.clone(),
        transfer_whisper: declared.transfer_whisper,
    }
}
