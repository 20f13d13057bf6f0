//! What a REGISTER asks for.

use std::time::Duration;

use crate::sip::message::params::unquote;
use crate::sip::message::{Checked, NameAddr, Request, SipUri, Uri};

use super::MAX_CONTACTS;

/// A REGISTER, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub call_id: String,
    pub sequence: u32,
    pub wanted: Wanted,
    /// Values of Path (RFC 3327), nearest first; they become the Route of requests to the phone.
    pub path: Vec<String>,
    /// The phone does RFC 5626 and gave every contact an instance and a reg-id.
    pub outbound: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Only the list.
    List,
    RemoveAll,
    Contacts(Vec<Wish>),
}

/// One Contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub contact: SipUri,
    /// `None`: as long as we like. Zero: no longer.
    pub expires: Option<Duration>,
    /// q in thousandths; 1000 when absent.
    pub priority: u16,
    pub flow: Option<Flow>,
}

/// One of the ways that one device keeps open (RFC 5626 §4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    pub instance: String,
    pub number: u32,
}

/// Status, phrase, and the Min-Expires that a 423 carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub reason: &'static str,
    pub shortest: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str) -> Refusal {
        Refusal { code, reason, shortest: None }
    }
}

/// Longest contact URI, Path value and Call-ID that are kept.
const LONGEST: usize = 512;
/// Path values of one request.
const MAX_PATH: usize = 8;

impl Registration {
    pub fn read(request: &Request, checked: &Checked) -> Result<Registration, Refusal> {
        let contacts = request.fields.list("Contact");
        let path = request.fields.list("Path");
        let too_long = |text: &String| text.len() > LONGEST;
        if contacts.iter().chain(&path).any(too_long) || too_long(&checked.call_id) || path.len() > MAX_PATH {
            return Err(Refusal::new(400, "Contact, Path Or Call-ID Too Long"));
        }
        if contacts.len() > MAX_CONTACTS {
            return Err(Refusal::new(403, "Too Many Contacts"));
        }
        // A malformed value stands for the default (RFC 3261 §10.2.1.1).
        let general = request.fields.first("Expires").and_then(seconds);
        let wanted = if contacts.iter().any(|contact| contact == "*") {
            if contacts.len() > 1 || general != Some(Duration::ZERO) {
                return Err(Refusal::new(400, "A Lone * With Expires: 0 Removes All"));
            }
            Wanted::RemoveAll
        } else if contacts.is_empty() {
            Wanted::List
        } else {
            Wanted::Contacts(contacts.iter().filter_map(|contact| Wish::read(contact, general)).collect())
        };
        let asked = request.fields.list("Supported").iter().any(|tag| tag.eq_ignore_ascii_case("outbound"));
        let flows =
            matches!(&wanted, Wanted::Contacts(all) if !all.is_empty() && all.iter().all(|wish| wish.flow.is_some()));
        let outbound = asked && flows;
        // Through a proxy that does not do RFC 5626 there is no flow to the phone (§6).
        let through = request.fields.list("Via").len() > 1;
        if outbound && through && !path.first().is_some_and(|first| keeps_flows(first)) {
            return Err(Refusal::new(439, "First Hop Lacks Outbound Support"));
        }
        let sequence = checked.cseq.number;
        Ok(Registration { call_id: checked.call_id.clone(), sequence, wanted, path, outbound })
    }
}

impl Wish {
    /// `None` for contacts that are no SIP: nothing of ours could reach them.
    fn read(text: &str, general: Option<Duration>) -> Option<Wish> {
        let NameAddr { uri, params, .. } = NameAddr::parse(text).ok()?;
        let Uri::Sip(contact) = uri else { return None };
        let expires = match params.value("expires") {
            Some(own) => seconds(own),
            None => general,
        };
        let instance = params.value("+sip.instance").map(unquote).filter(|instance| !instance.is_empty());
        let number = params.value("reg-id").and_then(|number| number.parse().ok()).filter(|number| *number > 0);
        let flow = instance.zip(number).map(|(instance, number)| Flow { instance, number });
        Some(Wish { contact, expires, priority: params.value("q").and_then(thousandths).unwrap_or(1000), flow })
    }
}

fn keeps_flows(path: &str) -> bool {
    NameAddr::parse(path).is_ok_and(|path| path.uri.sip().is_some_and(|uri| uri.params.has("ob")))
}

/// Delta-seconds; beyond 32 bits it is as long as can be (RFC 3261 §20.19).
fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse::<u32>().unwrap_or(u32::MAX).into()))
}

/// `0.75` as 750; `None` unless it is a qvalue (RFC 3261 §25.1).
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if !matches!(whole, "0" | "1") || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = format!("{whole}{fraction:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::check::check;
    use crate::sip::message::{Limits, Message, read};

    fn register(more: &str) -> Result<Registration, Refusal> {
        let text = format!(
            "REGISTER sip:box SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
             From: <sip:10@box>;tag=a\r\nTo: <sip:10@box>\r\nCall-ID: c\r\nCSeq: 7 REGISTER\r\n{more}\r\n"
        );
        let Ok(Message::Request(request)) = read(text.as_bytes(), &Limits::default()) else { panic!("unreadable") };
        let checked = check(&request).expect("sound");
        Registration::read(&request, &checked)
    }

    fn wishes(more: &str) -> Vec<Wish> {
        match register(more).expect("taken").wanted {
            Wanted::Contacts(wishes) => wishes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_contact_has_its_own_time_and_q() {
        let wishes = wishes(
            "Contact: <sip:10@192.0.2.1>;expires=120;q=0.5, <sip:10@192.0.2.2>;expires=x\r\n\
             Contact: <sip:10@192.0.2.3>;q=1.0, <tel:10>\r\nExpires: 90\r\n",
        );
        let shown: Vec<_> =
            wishes.iter().map(|wish| (wish.expires.map(|time| time.as_secs()), wish.priority)).collect();
        assert_eq!(shown, [(Some(120), 500), (None, 1000), (Some(90), 1000)]);
    }

    #[test]
    fn a_star_stands_alone_and_with_expires_0() {
        assert_eq!(register("Contact: *\r\nExpires: 0\r\n").expect("taken").wanted, Wanted::RemoveAll);
        assert_eq!(register("").expect("taken").wanted, Wanted::List);
        for wrong in ["Contact: *\r\n", "Contact: *\r\nExpires: 60\r\n", "Contact: *, <sip:a@b>\r\nExpires: 0\r\n"] {
            assert_eq!(register(wrong).map_err(|refusal| refusal.code), Err(400), "{wrong}");
        }
    }

    #[test]
    fn outbound_needs_instance_and_reg_id_and_a_first_hop_that_keeps_flows() {
        let contact = "Contact: <sip:10@192.0.2.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n";
        let taken = register(&format!("{contact}Supported: path, outbound\r\n")).expect("taken");
        assert!(taken.outbound);
        assert!(!register(contact).expect("taken").outbound);
        assert!(!register("Contact: <sip:10@192.0.2.1>\r\nSupported: outbound\r\n").expect("taken").outbound);
        let through = format!("{contact}Supported: outbound\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb\r\n");
        assert_eq!(register(&through).map_err(|refusal| refusal.code), Err(439));
        let kept = format!("{through}Path: <sip:edge@192.0.2.9;lr;ob>\r\n");
        assert_eq!(register(&kept).expect("taken").path, ["<sip:edge@192.0.2.9;lr;ob>"]);
    }

    #[test]
    fn what_is_too_long_or_too_many_is_refused() {
        let long = format!("Contact: <sip:{}@b>\r\n", "a".repeat(600));
        assert_eq!(register(&long).map_err(|refusal| refusal.code), Err(400));
        let many: Vec<String> = (0..11).map(|number| format!("<sip:{number}@b>")).collect();
        assert_eq!(register(&format!("Contact: {}\r\n", many.join(","))).map_err(|refusal| refusal.code), Err(403));
    }

    #[test]
    fn q_is_read_as_the_grammar_says() {
        for (text, value) in
            [("0", Some(0)), ("1", Some(1000)), ("0.7", Some(700)), ("0.001", Some(1)), ("1.000", Some(1000))]
        {
            assert_eq!(thousandths(text), value, "{text}");
        }
        for text in ["", "2", "1.1", "0.1234", "-0.1", ".5", "0.x"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
        assert_eq!(seconds("4294967296"), Some(Duration::from_secs(u32::MAX.into())));
        assert_eq!(seconds("-1"), None);
    }
}
