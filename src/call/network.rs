//! What the network said of a call: who called first, who vouches for the caller, and why it ended. Kept as it was said;
//! nothing of it is signed towards us but the PASSporTs, which whoever reads them may verify.

use serde::{Deserialize, Serialize};

use crate::sip::message::reason::Protocol;
use crate::sip::message::{Provenance, Reason};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The number that was called before the call was forwarded here (History-Info, Diversion).
    pub original_called: Option<String>,
    /// Numbers that forwarded the call, first to last, each with its reason where one was given.
    pub diversions: Vec<(String, Option<String>)>,
    /// P-Asserted-Identity of the caller.
    pub asserted: Option<String>,
    /// `TN-Validation-Passed` and its kin.
    pub verstat: Option<String>,
    /// Identity fields (STIR).
    pub identity: Vec<String>,
    /// Why the newest attempt ended, in the network's words.
    pub causes: Vec<Cause>,
}

/// One Reason (RFC 3326).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `SIP` or `Q.850`.
    pub protocol: String,
    pub cause: u16,
    pub text: Option<String>,
}

impl From<&Provenance> for Network {
    fn from(told: &Provenance) -> Network {
        let forwarded =
            |diversion: &crate::sip::message::Diversion| (diversion.number.clone(), diversion.reason.clone());
        Network {
            original_called: told.original_called.clone(),
            diversions: told.diversions.iter().map(forwarded).collect(),
            asserted: told.asserted.clone(),
            verstat: told.verstat.clone(),
            identity: told.identity.clone(),
            causes: Vec::new(),
        }
    }
}

impl From<&Reason> for Cause {
    fn from(reason: &Reason) -> Cause {
        let protocol = match reason.protocol {
            Protocol::Sip => "SIP",
            Protocol::Q850 => "Q.850",
        };
        Cause { protocol: protocol.to_owned(), cause: reason.cause, text: reason.text.clone() }
    }
}

impl Network {
    /// The telephone network's cause value (ITU-T Q.850), if it gave one.
    pub fn q850(&self) -> Option<u16> {
        self.causes.iter().find(|cause| cause.protocol == "Q.850").map(|cause| cause.cause)
    }
}
