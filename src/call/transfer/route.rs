//! Where a transfer may go: the dial policy for destinations that are more than a number.
//!
//! | Destination | May be called when | Through |
//! |---|---|---|
//! | number, `tel:` | the dial rules allow the number | any trunk |
//! | `sip:` at the host of an internal trunk | its user part is no number that is denied | that trunk |
//! | `sip:` named by an internal trunk (REFER), any host | as above; the host becomes the trunk's | that trunk |
//! | `sip:` at the host of another trunk | its user part is a number that the dial rules allow | that trunk |
//! | `sip:` elsewhere, without `Replaces` | its user part is a number that the dial rules allow | any trunk, as that number |
//! | anything else | never | |
//!
//! An internal trunk is a PBX of the house: who is behind it may call there anyhow. Of a carrier nobody knows who asks.

use uuid::Uuid;

use super::TransferError;
use crate::call::room::Room;
use crate::config::TrunkConfig;
use crate::directory::{DialVerdict, normalize};
use crate::sip::endpoint::{Host, Referred, Target, Uri};

/// A destination that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::call) struct Route {
    /// The only trunk that leads there; any when absent.
    pub(in crate::call) trunk: Option<String>,
    pub(in crate::call) target: Target,
}

impl Route {
    /// As the INVITE through `trunk` takes it.
    pub(in crate::call) fn through(&self, trunk: &TrunkConfig, referred_by: Option<String>) -> Referred {
        Referred { target: self.on(trunk), referred_by }
    }

    /// The URI that a peer on `trunk` understands.
    pub(in crate::call) fn on(&self, trunk: &TrunkConfig) -> Target {
        match &self.target.uri {
            Uri::Tel(_) => Target { uri: at(&self.target.uri.number(), trunk), replaces: None },
            _ => self.target.clone(),
        }
    }
}

/// Reads what an API client or a configuration wrote.
pub(in crate::call) fn parse(destination: &str) -> Result<Target, TransferError> {
    let text = destination.trim();
    if let Some(number) = normalize(text) {
        return Ok(Target { uri: Uri::Tel(number), replaces: None });
    }
    let target = Target::parse(&format!("<{text}>")).ok_or(TransferError::Malformed)?;
    let plain = target.replaces.is_none() && target.uri.sip().is_none_or(|uri| !uri.secure && uri.user.is_some());
    if plain { Ok(target) } else { Err(TransferError::Malformed) }
}

/// Judges `target`. `from`: the trunk whose peer named it.
pub(in crate::call) fn judge(
    room: &Room,
    organization: Uuid,
    target: &Target,
    from: Option<&TrunkConfig>,
) -> Result<Route, TransferError> {
    let number = normalize(&target.uri.number());
    let verdict = match &number {
        Some(number) => Some(room.directory.may_dial(organization, number).map_err(|_| TransferError::Unavailable)?),
        None => None,
    };
    decide(&room.config.trunks, target, from, number.as_deref(), verdict).ok_or(TransferError::Forbidden)
}

fn decide(
    trunks: &[TrunkConfig],
    target: &Target,
    from: Option<&TrunkConfig>,
    number: Option<&str>,
    verdict: Option<DialVerdict>,
) -> Option<Route> {
    let allowed = verdict == Some(DialVerdict::Allowed);
    // Hours, caps and denied prefixes hold for everybody; the whitelist is for who comes from outside.
    let not_denied = matches!(verdict, None | Some(DialVerdict::Allowed | DialVerdict::NotWhitelisted));
    let as_number = || {
        let number = number.map(str::to_owned).filter(|_| allowed && target.replaces.is_none())?;
        Some(Route { trunk: None, target: Target { uri: Uri::Tel(number), replaces: None } })
    };
    let Uri::Sip(uri) = &target.uri else { return as_number() };
    let there = |trunk: &&TrunkConfig| {
        Host::parse_with_port(&trunk.host)
            .is_ok_and(|(host, port)| host == uri.host && port.unwrap_or(5060) == uri.port.unwrap_or(5060))
    };
    // The one that asks comes first: two trunks may lead to one host.
    let home = from.filter(there).or_else(|| trunks.iter().find(there));
    match (home, from) {
        (Some(trunk), _) if trunk.internal && not_denied && uri.user.is_some() => {
            Some(Route { trunk: Some(trunk.name.clone()), target: target.clone() })
        }
        (Some(trunk), _) if allowed => Some(Route { trunk: Some(trunk.name.clone()), target: target.clone() }),
        (None, Some(from)) if from.internal && not_denied => {
            let moved = at(uri.user.as_deref().map(|_| target.uri.number())?.as_str(), from);
            let target = Target { uri: moved, replaces: target.replaces.clone() };
            Some(Route { trunk: Some(from.name.clone()), target })
        }
        (None, _) => as_number(),
        (Some(_), _) => None,
    }
}

/// `user` at the host of `trunk`.
fn at(user: &str, trunk: &TrunkConfig) -> Uri {
    let (host, port) = Host::parse_with_port(&trunk.host).unwrap_or_else(|_| (Host::Name(trunk.host.clone()), None));
    Uri::Sip(crate::sip::message::SipUri::new(Some(user), host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trunk(name: &str, host: &str, internal: bool) -> TrunkConfig {
        toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"\ninternal = {internal}")).expect("a trunk")
    }

    /// Where `target` leads, named by `from`: trunk and URI.
    fn route(target: &str, from: Option<usize>, verdict: Option<DialVerdict>) -> Option<(String, String)> {
        let trunks = [trunk("pbx", "192.0.2.1", true), trunk("carrier", "sip.example.com:5070", false)];
        let target = Target::parse(target).expect("a target");
        let number = normalize(&target.uri.number());
        let route = decide(&trunks, &target, from.map(|at| &trunks[at]), number.as_deref(), verdict)?;
        Some((route.trunk.unwrap_or_default(), route.target.uri.to_string()))
    }

    #[test]
    fn walks_the_table() {
        use DialVerdict::{Allowed, Denied, NotWhitelisted};
        let to = |trunk: &str, uri: &str| Some((trunk.to_owned(), uri.to_owned()));
        let replaces = "?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2";
        // Numbers.
        assert_eq!(route("tel:+4930123", None, Some(Allowed)), to("", "tel:+4930123"));
        assert_eq!(route("tel:+4930123", None, Some(NotWhitelisted)), None);
        // At the house's PBX.
        assert_eq!(route("sip:201@192.0.2.1", None, Some(NotWhitelisted)), to("pbx", "sip:201@192.0.2.1"));
        assert_eq!(route("sip:alice@192.0.2.1", Some(0), None), to("pbx", "sip:alice@192.0.2.1"));
        assert_eq!(route("sip:+1900@192.0.2.1", Some(0), Some(Denied)), None);
        assert_eq!(route("sip:192.0.2.1", Some(0), None), None);
        // Named by it under another name of its own.
        let named = format!("<sip:201@pbx.local{replaces}>");
        assert_eq!(route(&named, Some(0), Some(NotWhitelisted)), to("pbx", "sip:201@192.0.2.1"));
        assert_eq!(route("sip:+1900@pbx.local", Some(0), Some(Denied)), None);
        // At a carrier.
        assert_eq!(route("sip:+4930@sip.example.com:5070", Some(1), Some(NotWhitelisted)), None);
        assert_eq!(route("sip:alice@sip.example.com:5070", Some(1), None), None);
        let allowed = to("carrier", "sip:+4930@sip.example.com:5070");
        assert_eq!(route("sip:+4930@sip.example.com:5070", Some(1), Some(Allowed)), allowed);
        // Elsewhere.
        assert_eq!(route("sip:+4930123@elsewhere.example", Some(1), Some(Allowed)), to("", "tel:+4930123"));
        assert_eq!(route("sip:+4930123@elsewhere.example", Some(1), Some(NotWhitelisted)), None);
        let elsewhere = format!("<sip:+4930123@elsewhere.example{replaces}>");
        assert_eq!(route(&elsewhere, Some(1), Some(Allowed)), None);
        assert_eq!(route("sip:201@pbx.local", None, Some(NotWhitelisted)), None, "an API client is no PBX");
    }

    #[test]
    fn a_destination_is_a_number_or_a_plain_uri() {
        assert_eq!(parse(" +49 30 123 ").map(|target| target.uri.to_string()), Ok("tel:+4930123".into()));
        assert_eq!(parse("sip:201@192.0.2.1").map(|target| target.uri.to_string()), Ok("sip:201@192.0.2.1".into()));
        for text in [
            "",
            "boss",
            "sips:a@b",
            "sip:192.0.2.1",
            "sip:a@b>\r\nX: y",
            "sip:a@b?Replaces=a%3Bto-tag%3D1%3Bfrom-tag%3D2",
        ] {
            assert_eq!(parse(text), Err(TransferError::Malformed), "{text:?}");
        }
    }
}
