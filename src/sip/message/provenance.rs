//! What the network says about where a call comes from and how it got here: History-Info (RFC 7044), Diversion
//! (RFC 5806), P-Asserted-Identity (RFC 3325), `verstat` (ATIS-1000074, 3GPP TS 24.229 §7.2A.20) and Identity (STIR, RFC 8224).
//!
//! None of it is signed towards us but Identity, which is passed through as it came. Whether the sender is to be
//! believed is the reader's business; only trunks are.

use super::params::Params;
use super::{Fields, NameAddr, Uri};

/// Empty where the INVITE says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The number that was called first, when the call was forwarded to us.
    pub original_called: Option<String>,
    /// Who forwarded it, first to last.
    pub diversions: Vec<Diversion>,
    /// The caller as the trunk asserts it, number or URI.
    pub asserted: Option<String>,
    /// What a verification service found, e.g. `TN-Validation-Passed`.
    pub verstat: Option<String>,
    /// PASSporTs as they came.
    pub identity: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diversion {
    pub number: String,
    /// `unconditional`, `user-busy`, `no-answer`, … as written; of History-Info the SIP cause.
    pub reason: Option<String>,
}

/// Forwardings that are kept.
const MAX_DIVERSIONS: usize = 8;
/// Identity values that are kept, and the size of each.
const MAX_IDENTITIES: usize = 4;
const MAX_IDENTITY_BYTES: usize = 4_096;
/// Characters of everything else.
const MAX_WORD: usize = 128;

impl Provenance {
    /// `called` is the number of the Request-URI.
    pub fn read(fields: &Fields, called: &str) -> Provenance {
        let history = history(fields);
        let diversions = if history.len() > 1 { retargets(&history, called) } else { diversions(fields) };
        let asserted: Vec<NameAddr> = addresses(fields, "P-Asserted-Identity").collect();
        let original = diversions.first().map(|first| first.number.clone());
        let identity = fields.all("Identity").filter(|value| !value.is_empty() && value.len() <= MAX_IDENTITY_BYTES);
        Provenance {
            original_called: original.filter(|number| number != called),
            diversions,
            verstat: asserted
                .iter()
                .find_map(verstat)
                .or_else(|| addresses(fields, "From").find_map(|from| verstat(&from))),
            asserted: asserted.iter().map(named).find(|name| !name.is_empty()),
            identity: identity.take(MAX_IDENTITIES).map(str::to_owned).collect(),
        }
    }
}

fn addresses<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = NameAddr> + use<'a> {
    fields.list(name).into_iter().filter_map(|value| NameAddr::parse(&value).ok())
}

/// The number, or the URI of somebody without one.
fn named(address: &NameAddr) -> String {
    let number = address.uri.number();
    short(&if number.is_empty() { address.uri.to_string() } else { number })
}

/// A parameter of the URI, of its user part or of the field; all three are seen.
fn verstat(address: &NameAddr) -> Option<String> {
    let of = |params: &Params| params.value("verstat").map(str::to_owned);
    let written = match &address.uri {
        Uri::Sip(uri) => of(&uri.params).or_else(|| user_param(uri.user.as_deref().unwrap_or_default())),
        Uri::Tel(number) => user_param(number),
        Uri::Other(_) => None,
    };
    written.or_else(|| of(&address.params)).map(|word| short(&word))
}

fn user_param(user: &str) -> Option<String> {
    let (_, params) = user.split_once(';')?;
    Params::parse(params)?.value("verstat").map(str::to_owned)
}

/// Diversion: each forwarder puts itself on top, so the last is the first (RFC 5806 §4).
fn diversions(fields: &Fields) -> Vec<Diversion> {
    let all = addresses(fields, "Diversion").map(|address| Diversion {
        number: named(&address),
        reason: address.params.value("reason").map(|reason| short(&super::params::unquote(reason))),
    });
    let mut found: Vec<Diversion> = all.filter(|diversion| !diversion.number.is_empty()).collect();
    found.reverse();
    found.truncate(MAX_DIVERSIONS);
    found
}

struct Entry {
    number: String,
    index: Vec<u32>,
    cause: Option<String>,
}

/// The entries in the order of their index.
fn history(fields: &Fields) -> Vec<Entry> {
    let mut entries: Vec<Entry> = addresses(fields, "History-Info").filter_map(|address| entry(&address)).collect();
    entries.sort_by(|one, other| one.index.cmp(&other.index));
    entries
}

fn entry(address: &NameAddr) -> Option<Entry> {
    let index =
        address.params.value("index")?.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()?;
    let headers = address.uri.sip().and_then(|uri| uri.headers.clone()).unwrap_or_default();
    // `Reason=SIP%3Bcause%3D302`, and the `cause` parameter of RFC 4458.
    let reason = super::uri::unescape(&headers).split_once("cause=").map(|(_, rest)| digits(rest));
    let cause = address.uri.sip().and_then(|uri| uri.params.value("cause")).map(digits);
    Some(Entry {
        number: short(&address.uri.number()),
        index,
        cause: reason.or(cause).filter(|cause| !cause.is_empty()),
    })
}

/// Every target but the one that is us.
fn retargets(history: &[Entry], called: &str) -> Vec<Diversion> {
    let last = history.len().saturating_sub(1);
    let earlier = history.iter().take(last).filter(|entry| !entry.number.is_empty() && entry.number != called);
    let mut found: Vec<Diversion> = Vec::new();
    for entry in earlier {
        if found.len() < MAX_DIVERSIONS && found.iter().all(|before| before.number != entry.number) {
            found.push(Diversion { number: entry.number.clone(), reason: entry.cause.clone() });
        }
    }
    found
}

fn digits(text: &str) -> String {
    text.chars().take_while(char::is_ascii_digit).take(3).collect()
}

fn short(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_WORD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&str, &str)], called: &str) -> Provenance {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name, *value);
        }
        Provenance::read(&fields, called)
    }

    fn diversion(number: &str, reason: Option<&str>) -> Diversion {
        Diversion { number: number.into(), reason: reason.map(str::to_owned) }
    }

    #[test]
    fn the_last_diversion_is_the_first_number_called() {
        let found = read(
            &[("Diversion", "\"B\" <sip:+4922@pbx>;reason=no-answer;counter=1, <tel:+4911>;reason=\"unconditional\"")],
            "100",
        );
        assert_eq!(found.original_called.as_deref(), Some("+4911"));
        assert_eq!(
            found.diversions,
            [diversion("+4911", Some("unconditional")), diversion("+4922", Some("no-answer"))]
        );
    }

    #[test]
    fn history_is_read_in_the_order_of_its_index() {
        let found = read(
            &[
                ("History-Info", "<sip:100@box?Reason=SIP%3Bcause%3D302>;index=1.10"),
                ("History-Info", "<sip:+4911@a>;index=1, <sip:+4922@b;cause=486>;index=1.2;mp=1"),
                ("Diversion", "<sip:999@x>"),
            ],
            "100",
        );
        assert_eq!(found.original_called.as_deref(), Some("+4911"));
        assert_eq!(found.diversions, [diversion("+4911", None), diversion("+4922", Some("486"))]);
    }

    #[test]
    fn a_history_of_ourselves_alone_is_no_forwarding() {
        assert_eq!(read(&[("History-Info", "<sip:100@box>;index=1")], "100"), Provenance::default());
        assert_eq!(read(&[("Diversion", "<sip:100@box>")], "100").original_called, None);
        assert!(
            read(&[("Diversion", "nonsense <"), ("History-Info", "<sip:1@a>;index=x")], "100").diversions.is_empty()
        );
    }

    #[test]
    fn verstat_is_found_wherever_it_is_written() {
        for from in [
            "<sip:+1555;verstat=TN-Validation-Passed@x;user=phone>;tag=1",
            "<sip:+1555@x;verstat=TN-Validation-Passed>;tag=1",
            "<tel:+1555;verstat=TN-Validation-Passed>;tag=1",
            "<sip:+1555@x>;verstat=TN-Validation-Passed;tag=1",
        ] {
            assert_eq!(read(&[("From", from)], "1").verstat.as_deref(), Some("TN-Validation-Passed"), "{from}");
        }
        let asserted = read(&[("P-Asserted-Identity", "<sip:+1777@x;verstat=No-TN-Validation>, <tel:+1777>")], "1");
        assert_eq!(
            (asserted.asserted.as_deref(), asserted.verstat.as_deref()),
            (Some("+1777"), Some("No-TN-Validation"))
        );
    }

    #[test]
    fn a_stranger_cannot_make_it_grow() {
        let (long, many) =
            ("x".repeat(MAX_IDENTITY_BYTES + 1), vec![("Identity", "eyJ.eyJ.sig;info=<https://a/b>"); 20]);
        assert_eq!(read(&many, "1").identity.len(), MAX_IDENTITIES);
        assert!(read(&[("Identity", &long)], "1").identity.is_empty());
        let forwards: Vec<String> = (0..100).map(|number| format!("<sip:{number}@x>;index=1.{number}")).collect();
        let lines: Vec<(&str, &str)> = forwards.iter().map(|line| ("History-Info", line.as_str())).collect();
        assert_eq!(read(&lines, "1").diversions.len(), MAX_DIVERSIONS);
    }
}
