//! INVITE with `Replaces` (RFC 3891) and targets that a REFER named.

use super::{CallKey, Origin, UserAgent};
use crate::sip::dialog::call::Standing;
use crate::sip::dialog::replaces::{Replaces, Target, carry};
use crate::sip::message::{Host, Request, Response, SipUri, Uri};

/// Where a call goes that somebody asked for by REFER, or that a person is called by: a URI that may carry `Replaces`
/// and `Referred-By`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referred {
    pub target: Target,
    pub referred_by: Option<String>,
}

impl Referred {
    /// The URI with the fields of the INVITE in it; `None` when it cannot be dialled. A number without a host goes to
    /// `host`.
    pub(in crate::sip) fn dialable(&self, host: &Host, port: Option<u16>) -> Option<SipUri> {
        let mut uri = match &self.target.uri {
            Uri::Sip(_) => super::dialable(&self.target.uri.to_string())?,
            Uri::Tel(_) => SipUri::new(Some(&self.target.uri.number()), host.clone(), port),
            Uri::Other(_) => return None,
        };
        carry(&mut uri, self.target.replaces.as_ref(), self.referred_by.as_deref());
        Some(uri)
    }
}

impl UserAgent {
    /// The call whose place an INVITE wants to take, if it names one; else the refusal that it is owed.
    ///
    /// | The INVITE's `Replaces` | Answer |
    /// |---|---|
    /// | absent | – |
    /// | twice, or broken | 400 |
    /// | of no dialog of ours, of an early one, of another fork | 481 |
    /// | of a dialog with somebody else than the sender | 403 |
    /// | of a dialog that has ended | 603 |
    /// | of a confirmed dialog, but only early ones are meant | 486 |
    /// | of a confirmed dialog | taken over |
    pub(super) fn replaced(&self, request: &Request, origin: &Origin) -> Result<Option<CallKey>, Box<Response>> {
        let refuse = |code: u16| Box::new(Response::to(request, code));
        let mut values = request.fields.all("Replaces");
        let Some(value) = values.next() else { return Ok(None) };
        let replaces = Replaces::parse(value).filter(|_| values.next().is_none()).ok_or_else(|| refuse(400))?;
        let name = (replaces.call_id, replaces.to_tag);
        let known = self.dialogs.get(&name).and_then(|key| self.calls.get(key).map(|entry| (*key, entry)));
        let (key, entry) = known.ok_or_else(|| refuse(481))?;
        match entry.call.standing(&replaces.from_tag) {
            Standing::Unknown => Err(refuse(481)),
            _ if entry.origin != *origin => Err(refuse(403)),
            Standing::Over => Err(refuse(603)),
            Standing::Confirmed if replaces.early_only => Err(refuse(486)),
            Standing::Confirmed => Ok(Some(self.known_as(key))),
        }
    }
}
