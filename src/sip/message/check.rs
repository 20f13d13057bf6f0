//! What a request must hold before anything is done with it, and the answer owed when it does not.

use super::{CSeq, NameAddr, Request, Via};

/// The parts that every layer above needs, read once.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Top Via.
    pub via: Via,
    pub from: NameAddr,
    pub to: NameAddr,
    pub call_id: String,
    pub cseq: CSeq,
}

/// A refusal: status and reason phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owed {
    pub status: u16,
    pub reason: &'static str,
}

impl Checked {
    /// Empty for peers of RFC 2543, which need not send one.
    pub fn from_tag(&self) -> &str {
        self.from.tag().unwrap_or_default()
    }
}

/// Checks what RFC 3261 §8.1.1 demands of every request. Whether we support what it asks is not judged here.
pub fn check(request: &Request) -> Result<Checked, Owed> {
    const ONCE: [&str; 7] = ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type"];
    if ONCE.iter().any(|name| request.fields.count(name) > 1) {
        return Err(bad("Repeated Header Field"));
    }
    let fields = &request.fields;
    let vias = fields.list("Via");
    let via = vias.first().and_then(|via| Via::parse(via).ok()).ok_or(bad("Missing or Malformed Via"))?;
    let from = address(request, "From").ok_or(bad("Missing or Malformed From"))?;
    let to = address(request, "To").ok_or(bad("Missing or Malformed To"))?;
    let call_id = fields.first("Call-ID").filter(|id| !id.is_empty()).ok_or(bad("Missing Call-ID"))?.to_owned();
    let cseq = fields.first("CSeq").and_then(CSeq::parse).ok_or(bad("Missing or Malformed CSeq"))?;
    if cseq.method != request.method {
        return Err(bad("CSeq Method Does Not Match"));
    }
    if via.version != "SIP/2.0" {
        return Err(Owed { status: 505, reason: "Version Not Supported" });
    }
    if let Some(hops) = fields.first("Max-Forwards")
        && (hops.is_empty() || !hops.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(bad("Malformed Max-Forwards"));
    }
    let contacts = fields.list("Contact");
    if contacts.iter().any(|contact| contact != "*" && NameAddr::parse(contact).is_err()) {
        return Err(bad("Malformed Contact"));
    }
    if request.uri.sip().is_some_and(|uri| uri.headers.is_some()) {
        return Err(bad("Header Fields in Request-URI"));
    }
    Ok(Checked { via, from, to, call_id, cseq })
}

fn address(request: &Request, name: &str) -> Option<NameAddr> {
    NameAddr::parse(request.fields.first(name)?).ok()
}

fn bad(reason: &'static str) -> Owed {
    Owed { status: 400, reason }
}
