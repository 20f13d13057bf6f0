//! Where a transfer may go: the dial policy for destinations that are more than a number.
//!
//! | Destination | May be called when | Through |
//! |---|---|---|
//! | extension: its user alone, or `sip:` at this box | named by nobody from outside (a carrier's REFER) | its phones |
//! | number, `tel:` | the dial rules allow the number | any trunk |
//! | `sip:` at the host of an internal trunk | its user part is no number that is denied | that trunk |
//! | `sip:` named by an internal trunk (REFER), any host | as above; the host becomes the trunk's | that trunk |
//! | `sip:` at the host of another trunk | its user part is a number that the dial rules allow | that trunk |
//! | `sip:` elsewhere, without `Replaces` | its user part is a number that the dial rules allow | any trunk, as that number |
//! | anything else | never | |
//!
//! A URI that names a transport is called over it, unless that leads out of an encrypted trunk into the clear, or nobody
//! here speaks it: then it may not be called.
//!
//! An internal trunk is a PBX of the house: who is behind it may call there anyhow. Of a carrier nobody knows who asks.
//! Where an extension and a number are written alike, the extension is meant, as in an order to call.

use std::net::{IpAddr, UdpSocket};

use uuid::Uuid;

use super::TransferError;
use crate::call::room::Room;
use crate::config::{TransportName, TrunkConfig};
use crate::directory::{DialVerdict, normalize};
use crate::sip::endpoint::{Host, Referred, Target, Uri};
use crate::sip::message::SipUri;
use crate::sip::transport::Transport;

/// A destination that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::call) struct Route {
    pub(in crate::call) through: Through,
    pub(in crate::call) target: Target,
}

/// What leads to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::call) enum Through {
    AnyTrunk,
    /// The only trunk that leads there.
    Trunk(String),
    /// Every phone that registered as this extension.
    Extension(String),
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
pub(in crate::call) fn read(room: &Room, destination: &str) -> Result<Target, TransferError> {
    let user = destination.trim();
    match room.extension(user) {
        Some(_) => Ok(Target { uri: Uri::Tel(user.to_owned()), replaces: None }),
        None => parse(user),
    }
}

fn parse(text: &str) -> Result<Target, TransferError> {
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
    let extension = extension(room, &target.uri);
    decide(&room.config.trunks, target, from, extension, number.as_deref(), verdict).ok_or(TransferError::Forbidden)
}

/// The extension that `uri` names, if it is one of this box.
fn extension<'a>(room: &'a Room, uri: &Uri) -> Option<&'a str> {
    let ports = room.endpoint.ports();
    let ours = |port: u16| [ports.udp, ports.tcp, ports.tls].contains(&port);
    let here = match uri {
        Uri::Tel(_) => true,
        Uri::Sip(uri) => uri.port.is_none_or(ours) && is_our_host(room, &uri.host),
        Uri::Other(_) => false,
    };
    room.extension(&uri.number()).filter(|_| here).map(|extension| extension.user.as_str())
}

/// Whether `host` is a name or an address of this box.
fn is_our_host(room: &Room, host: &Host) -> bool {
    let Host::Ip(ip) = host else {
        return host.to_string().eq_ignore_ascii_case(&room.config.organization.host);
    };
    let bound = room.endpoint.local_address().ip();
    room.config.sip.advertised == Some(*ip) || bound == *ip || (bound.is_unspecified() && is_address_of_ours(*ip))
}

/// Only an own address can be bound; nothing is sent.
fn is_address_of_ours(ip: IpAddr) -> bool {
    !ip.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok()
}

fn decide(
    trunks: &[TrunkConfig],
    target: &Target,
    from: Option<&TrunkConfig>,
    extension: Option<&str>,
    number: Option<&str>,
    verdict: Option<DialVerdict>,
) -> Option<Route> {
    let allowed = verdict == Some(DialVerdict::Allowed);
    // Hours, caps and denied prefixes hold for everybody; the whitelist is for who comes from outside.
    let not_denied = matches!(verdict, None | Some(DialVerdict::Allowed | DialVerdict::NotWhitelisted));
    let as_number = || {
        let number = number.map(str::to_owned).filter(|_| allowed && target.replaces.is_none())?;
        Some(Route { through: Through::AnyTrunk, target: Target { uri: Uri::Tel(number), replaces: None } })
    };
    let inside = || {
        let user = extension.filter(|_| target.replaces.is_none() && from.is_none_or(|trunk| trunk.internal))?;
        Some(Route { through: Through::Extension(user.to_owned()), target: target.clone() })
    };
    let through = |trunk: &TrunkConfig| Through::Trunk(trunk.name.clone());
    let Uri::Sip(uri) = &target.uri else { return inside().or_else(as_number) };
    let there = |trunk: &&TrunkConfig| {
        Host::parse_with_port(&trunk.host)
            .is_ok_and(|(host, port)| host == uri.host && port.unwrap_or(5060) == uri.port.unwrap_or(5060))
    };
    // The one that asks comes first: two trunks may lead to one host.
    let home = from.filter(there).or_else(|| trunks.iter().find(there));
    if home.or(from).is_some_and(|trunk| !may_be_spoken(uri, trunk)) {
        return None;
    }
    match (home, from) {
        (Some(trunk), _) if trunk.internal && not_denied && uri.user.is_some() => {
            Some(Route { through: through(trunk), target: target.clone() })
        }
        (Some(trunk), _) if allowed => Some(Route { through: through(trunk), target: target.clone() }),
        (None, _) if extension.is_some() => inside(),
        (None, Some(from)) if from.internal && not_denied => {
            let mut moved = at(uri.user.as_deref().map(|_| target.uri.number())?.as_str(), from);
            if let (Uri::Sip(moved), Some(transport)) = (&mut moved, uri.params.value("transport")) {
                moved.params.set("transport", transport.to_ascii_lowercase());
            }
            let target = Target { uri: moved, replaces: target.replaces.clone() };
            Some(Route { through: through(from), target })
        }
        (None, _) => as_number(),
        (Some(_), _) => None,
    }
}

/// Whether what `uri` says of its transport can be done without taking the calls of `trunk` out of TLS.
fn may_be_spoken(uri: &SipUri, trunk: &TrunkConfig) -> bool {
    let asked = uri.params.value("transport").map(Transport::parse);
    match asked {
        Some(None) => false,
        Some(Some(transport)) => transport == Transport::Tls || uri.secure || trunk.transport != TransportName::Tls,
        None => true,
    }
}

/// `user` at the host of `trunk`.
fn at(user: &str, trunk: &TrunkConfig) -> Uri {
    let (host, port) = Host::parse_with_port(&trunk.host).unwrap_or_else(|_| (Host::Name(trunk.host.clone()), None));
    Uri::Sip(SipUri::new(Some(user), host, port))
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
        // The box is `box.example`; its only extension is 100.
        let here = target.uri.sip().is_none_or(|uri| uri.host.to_string() == "box.example");
        let extension = (here && target.uri.number() == "100").then_some("100");
        let route = decide(&trunks, &target, from.map(|at| &trunks[at]), extension, number.as_deref(), verdict)?;
        let through = match route.through {
            Through::AnyTrunk => String::new(),
            Through::Trunk(name) => name,
            Through::Extension(user) => format!("extension {user}"),
        };
        Some((through, route.target.uri.to_string()))
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
        // Over a transport that it names.
        let tcp = to("pbx", "sip:201@192.0.2.1;transport=tcp");
        assert_eq!(route("<sip:201@192.0.2.1;transport=tcp>", Some(0), None), tcp);
        assert_eq!(route("<sip:201@pbx.local;transport=TCP>", Some(0), None), tcp);
        assert_eq!(route("<sip:201@192.0.2.1;transport=sctp>", Some(0), None), None);
        assert_eq!(route("<sip:201@pbx.local;transport=ws>", Some(0), None), None);
        // A phone of the box.
        for target in ["tel:100", "sip:100@box.example"] {
            for (from, verdict) in [(None, NotWhitelisted), (None, Denied), (Some(0), NotWhitelisted)] {
                assert_eq!(route(target, from, Some(verdict)), to("extension 100", target), "{target} {from:?}");
            }
            assert_eq!(route(target, Some(1), Some(NotWhitelisted)), None, "a carrier rings no phone of ours");
        }
        assert_eq!(route("sip:100@box.example", Some(1), Some(Allowed)), None);
        assert_eq!(route(&format!("<sip:100@box.example{replaces}>"), Some(0), None), None);
        assert_eq!(route("sip:100@192.0.2.1", None, Some(NotWhitelisted)), to("pbx", "sip:100@192.0.2.1"));
    }

    #[test]
    fn no_target_leads_out_of_an_encrypted_trunk() {
        let tls = TrunkConfig { transport: TransportName::Tls, ..trunk("pbx", "192.0.2.1", true) };
        for (target, may) in [
            ("<sip:201@192.0.2.1>", true),
            ("<sip:201@192.0.2.1;transport=tls>", true),
            ("<sip:201@192.0.2.1;transport=udp>", false),
            ("<sip:201@pbx.local;transport=tcp>", false),
        ] {
            let target = Target::parse(target).expect("a target");
            let route = decide(std::slice::from_ref(&tls), &target, Some(&tls), None, None, None);
            assert_eq!(route.is_some(), may, "{}", target.uri);
        }
    }

    #[test]
    fn a_destination_is_a_number_or_a_plain_uri() {
        assert_eq!(parse("+49 30 123").map(|target| target.uri.to_string()), Ok("tel:+4930123".into()));
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
