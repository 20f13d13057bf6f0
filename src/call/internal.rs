//! Calls to the box's own extensions: without a trunk, on the lines of the extensions, allowed without a rule.

use uuid::Uuid;

use super::actor::wire::Ability;
use super::lines::Line;
use super::record::Call;
use super::room::Room;
use super::tables::CALLS;
use crate::config::ExtensionConfig;
use crate::sip::endpoint::{IncomingCall, Origin};
use crate::sip::sdp::SdpError;
use crate::store::StoreError;

/// How long a phone rings.
pub(super) const RING_SECONDS: u64 = 45;

/// What is needed for a call to an extension.
pub(super) enum Ready {
    /// The call goes to no extension.
    Elsewhere,
    /// Every line of the extensions is busy.
    Busy,
    Line(Line),
}

impl Room {
    /// The extension whose user is written exactly so.
    pub(super) fn extension(&self, user: &str) -> Option<&ExtensionConfig> {
        self.config.extensions.iter().find(|extension| extension.user == user)
    }

    /// The extension that `call` goes to.
    pub(super) fn extension_of(&self, call: &Call) -> Option<&ExtensionConfig> {
        if call.uri.is_some() { None } else { self.extension(&call.phone) }
    }
}

/// What the caller calls itself; an extension whose phone names nobody has its configured name.
pub(super) fn caller_name(room: &Room, incoming: &IncomingCall) -> Option<String> {
    let configured = match &incoming.origin {
        Origin::Extension(user) => room.extension(user).and_then(|extension| extension.name.clone()),
        Origin::Trunk(_) => None,
    };
    incoming.caller_name.clone().or(configured)
}

/// What we bring into a call of an extension; 488, with the reason, when its keys would be there for everybody to read.
pub(super) fn ability(room: &Room, incoming: &IncomingCall) -> Result<Ability, u16> {
    let extension = match &incoming.origin {
        Origin::Extension(user) => room.extension(user),
        Origin::Trunk(_) => None,
    };
    let secure = incoming.control.is_secure();
    let ability = Ability::of_extension(extension, secure);
    if ability.wants_keys() && !secure {
        incoming.control.refuse_media(SdpError::Profile);
        return Err(488);
    }
    Ok(ability)
}

/// A line for the call `id`, when it goes to an extension.
pub(super) fn line(room: &Room, id: Uuid) -> Result<Ready, StoreError> {
    if room.config.extensions.is_empty() {
        return Ok(Ready::Elsewhere);
    }
    let call = room.store.read()?.get(&CALLS, &id)?;
    if call.is_none_or(|call| room.extension_of(&call).is_none()) {
        return Ok(Ready::Elsewhere);
    }
    Ok(room.lines.extension().map_or(Ready::Busy, Ready::Line))
}
