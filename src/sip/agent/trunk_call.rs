//! What a trunk's rules make of a call that it brings.

use std::time::Instant;

use super::{Origin, UserAgent};
use crate::sip::message::{Checked, NameAddr, Request};
use crate::sip::trunk::caller_id;

impl UserAgent {
    /// Whether the trunk brings no more calls a second than it may.
    pub(super) fn keeps_pace(&mut self, origin: &Origin, now: Instant) -> bool {
        let Origin::Trunk(name) = origin else { return true };
        let kept = self.trunks.find_mut(name).is_none_or(|trunk| trunk.pace.take(now));
        if !kept {
            metrics::counter!("trunkline_trunk_calls_paced_total", "trunk" => name.clone()).increment(1);
        }
        kept
    }

    /// The number that was called. A carrier that sends a call to our registered contact names the number elsewhere: in
    /// P-Called-Party-ID (RFC 7315 §4.2), or in To.
    pub(super) fn called(&self, request: &Request, checked: &Checked, origin: &Origin) -> String {
        let asked = request.uri.number();
        let Origin::Trunk(name) = origin else { return asked };
        let Some(trunk) = self.trunks.find(name) else { return asked };
        let for_contact = trunk.registration.is_some() && trunk.account() == asked;
        let named = || {
            let party = request.fields.first("P-Called-Party-ID").and_then(|value| NameAddr::parse(value).ok());
            party.map_or_else(|| checked.to.uri.number(), |party| party.uri.number())
        };
        let number = if for_contact { Some(named()).filter(|number| !number.is_empty()) } else { None };
        trunk.numbers.called_in(&number.unwrap_or(asked))
    }

    /// Number and name of the caller.
    pub(super) fn caller(&self, request: &Request, checked: &Checked, origin: &Origin) -> (String, Option<String>) {
        let Origin::Trunk(name) = origin else {
            let heard = caller_id::heard(request, checked, false);
            return (heard.number, heard.name);
        };
        let heard = caller_id::heard(request, checked, true);
        let number = self.trunks.find(name).map(|trunk| trunk.numbers.caller_in(&heard.number));
        (number.unwrap_or(heard.number), heard.name)
    }
}
