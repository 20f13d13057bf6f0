//! Who calls, in the headers of a trunk: From, P-Asserted-Identity and Privacy (RFC 3325, RFC 3323), Remote-Party-ID
//! (draft-ietf-sip-privacy-04, which many PBXs still read). Pure.
//!
//! | Configured | From | The others |
//! |---|---|---|
//! | identity from | caller | – |
//! | identity without from | the account | P-Asserted-Identity, Remote-Party-ID: caller |
//! | anonymous | `"Anonymous" <sip:anonymous@anonymous.invalid>` | as configured, with `Privacy: id` and `privacy=full` |

use crate::config::IdentityHeader;
use crate::sip::message::params::quote;
use crate::sip::message::uri::escape_user;
use crate::sip::message::{Checked, Host, NameAddr, Request};

/// Who calls, as the called side is told.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub number: &'a str,
    pub name: Option<&'a str>,
    /// User part of From where From does not carry the caller.
    pub account: &'a str,
    pub host: &'a Host,
}

/// Headers of an INVITE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Value of From without its tag.
    pub from: String,
    pub others: Vec<(&'static str, String)>,
}

/// What a trunk says of its caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// [`ANONYMOUS`] when withheld.
    pub number: String,
    pub name: Option<String>,
}

/// Stands for a number that is not to be shown.
pub const ANONYMOUS: &str = "anonymous";

pub fn shown(headers: &[IdentityHeader], anonymous: bool, caller: Caller<'_>) -> Shown {
    let Caller { number, name, account, host } = caller;
    let display = name.filter(|name| !name.trim().is_empty()).map(|name| format!("{} ", quote(name)));
    let display = display.unwrap_or_default();
    let address = |user: &str| format!("<sip:{}@{host}>", escape_user(if user.is_empty() { ANONYMOUS } else { user }));
    let has = |header: IdentityHeader| headers.contains(&header);
    let from = match (anonymous, has(IdentityHeader::From)) {
        (true, _) => format!("\"Anonymous\" <sip:{ANONYMOUS}@anonymous.invalid>"),
        (false, true) => format!("{display}{}", address(number)),
        (false, false) => address(account),
    };
    let mut others = Vec::new();
    if has(IdentityHeader::PAssertedIdentity) && !number.is_empty() {
        others.push(("P-Asserted-Identity", format!("{display}{}", address(number))));
    }
    if has(IdentityHeader::RemotePartyId) && !number.is_empty() {
        let privacy = if anonymous { "full" } else { "off" };
        let value = format!("{display}{};party=calling;screen=yes;privacy={privacy}", address(number));
        others.push(("Remote-Party-ID", value));
    }
    if anonymous {
        others.push(("Privacy", "id".to_owned()));
    }
    Shown { from, others }
}

/// The caller of an INVITE. Only a trunk's assertions count (`trusted`), and a caller who wants to stay unknown does,
/// whatever the trunk asserts (RFC 3325 §7).
pub fn heard(request: &Request, checked: &Checked, trusted: bool) -> Heard {
    let first = |name: &str| {
        let values = request.fields.list(name);
        let addresses = values.iter().filter_map(|value| NameAddr::parse(value).ok());
        addresses.into_iter().find(|address| trusted && !address.uri.number().is_empty())
    };
    let remote = first("Remote-Party-ID");
    let hidden = remote.as_ref().is_some_and(|remote| remote.params.value("privacy").is_some_and(|how| how != "off"));
    let asserted = first("P-Asserted-Identity").or(remote);
    if hidden || wants_privacy(request) {
        return Heard { number: ANONYMOUS.to_owned(), name: None };
    }
    let address = asserted.as_ref().unwrap_or(&checked.from);
    let name = address.display.clone().or_else(|| checked.from.display.clone()).filter(|name| !name.trim().is_empty());
    Heard { number: address.uri.number(), name }
}

fn wants_privacy(request: &Request) -> bool {
    let values = request.fields.all("Privacy").flat_map(|value| value.split([';', ',']));
    let mut values = values.map(str::trim);
    values.any(|value| ["id", "user", "header"].iter().any(|kind| value.eq_ignore_ascii_case(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::check::check;
    use crate::sip::message::{Limits, Message, read};

    const HOST: Host = Host::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn caller<'a>(number: &'a str, name: Option<&'a str>) -> Caller<'a> {
        Caller { number, name, account: "box", host: &HOST }
    }

    #[test]
    fn the_rows_of_the_table() {
        use IdentityHeader::{From, PAssertedIdentity, RemotePartyId};
        let from = shown(&[From], false, caller("4930", Some("A \"B\"")));
        assert_eq!((from.from.as_str(), from.others.len()), ("\"A \\\"B\\\"\" <sip:4930@192.0.2.1>", 0));
        let asserted = shown(&[PAssertedIdentity, RemotePartyId], false, caller("+4930", None));
        assert_eq!(asserted.from, "<sip:box@192.0.2.1>");
        let others = [
            ("P-Asserted-Identity", "<sip:+4930@192.0.2.1>".to_owned()),
            ("Remote-Party-ID", "<sip:+4930@192.0.2.1>;party=calling;screen=yes;privacy=off".to_owned()),
        ];
        assert_eq!(asserted.others, others);
        let hidden = shown(&[From, PAssertedIdentity], true, caller("4930", Some("Me")));
        assert_eq!(hidden.from, "\"Anonymous\" <sip:anonymous@anonymous.invalid>");
        assert_eq!(hidden.others.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["P-Asserted-Identity", "Privacy"]);
        assert_eq!(shown(&[From], false, caller("", None)).from, "<sip:anonymous@192.0.2.1>");
    }

    #[test]
    fn no_name_or_number_opens_another_header() {
        let evil = "x\r\nRoute: <sip:evil>\r\nA: \"";
        let shown = shown(&[IdentityHeader::From, IdentityHeader::RemotePartyId], false, caller(evil, Some(evil)));
        let all = std::iter::once(&shown.from).chain(shown.others.iter().map(|(_, value)| value));
        for value in all {
            assert!(!value.contains(char::is_control), "{value:?}");
        }
    }

    fn heard_in(from: &str, more: &str, trusted: bool) -> Heard {
        let text = format!(
            "INVITE sip:1@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
             From: {from};tag=1\r\nTo: <sip:1@192.0.2.9>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        let Ok(Message::Request(request)) = read(text.as_bytes(), &Limits::default()) else { panic!("a request") };
        let checked = check(&request).unwrap_or_else(|owed| panic!("{}", owed.reason));
        heard(&request, &checked, trusted)
    }

    #[test]
    fn an_assertion_counts_more_than_from_and_only_from_a_trunk() {
        let from = "\"Ann\" <sip:10@pbx>";
        let asserted = "P-Asserted-Identity: <sip:anonymous@pbx>, <tel:+4930>\r\n";
        assert_eq!(heard_in(from, "", true), Heard { number: "10".into(), name: Some("Ann".into()) });
        assert_eq!(heard_in(from, "P-Asserted-Identity: \"A\" <tel:+4930>\r\n", true).number, "+4930");
        assert_eq!(heard_in(from, "P-Asserted-Identity: <tel:+4930>\r\n", false).number, "10");
        assert_eq!(heard_in(from, "Remote-Party-ID: <sip:20@pbx>;party=calling\r\n", true).number, "20");
        assert_eq!(heard_in(from, &format!("{asserted}Remote-Party-ID: <sip:20@pbx>\r\n"), true).number, "anonymous");
    }

    #[test]
    fn whoever_wants_to_stay_unknown_does() {
        let unknown = Heard { number: ANONYMOUS.into(), name: None };
        let from = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
        let asserted = "P-Asserted-Identity: \"Ann\" <sip:4930@pbx>\r\n";
        assert_eq!(heard_in(from, &format!("{asserted}Privacy: user;ID\r\n"), true), unknown);
        assert_eq!(heard_in(from, "Remote-Party-ID: <sip:20@pbx>;privacy=full\r\n", true), unknown);
        assert_eq!(heard_in(from, &format!("{asserted}Privacy: none\r\n"), true).number, "4930");
    }
}
