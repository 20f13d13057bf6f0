//! How messages find their transaction (RFC 3261 §17.1.3, §17.2.3).

use std::sync::Arc;

use crate::sip::message::{Checked, Request, Response, Via};

/// Branch and method of a request of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(Arc<str>);

/// Branch, sent-by and method of a request of the peer; for RFC 2543 peers what they have instead of a branch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey(Arc<str>);

impl ClientKey {
    pub fn new(branch: &str, method: &str) -> ClientKey {
        ClientKey(format!("{branch} {method}").into())
    }

    pub fn of_request(request: &Request) -> ClientKey {
        ClientKey::new(&request.branch(), &request.method.to_string())
    }

    pub fn of_response(response: &Response) -> Option<ClientKey> {
        let via = Via::parse(response.fields.list("Via").first()?).ok()?;
        Some(ClientKey::new(&via.branch?, &response.cseq()?.method.to_string()))
    }
}

impl ServerKey {
    /// ACK finds the transaction of its INVITE.
    pub fn of_request(request: &Request, checked: &Checked) -> ServerKey {
        let method = if request.is(rsip::Method::Ack) { "INVITE".to_owned() } else { request.method.to_string() };
        ServerKey::build(request, checked, &method)
    }

    /// The INVITE that a CANCEL wants to cancel (RFC 3261 §9.2).
    pub fn of_cancelled(request: &Request, checked: &Checked) -> ServerKey {
        ServerKey::build(request, checked, "INVITE")
    }

    fn build(request: &Request, checked: &Checked, method: &str) -> ServerKey {
        let via = &checked.via;
        match &via.branch {
            Some(branch) if via.has_unique_branch() => ServerKey(format!("{branch} {} {method}", via.sent_by()).into()),
            // The To tag is left out: the ACK carries one that the INVITE did not.
            branch => ServerKey(
                format!(
                    "2543 {} {} {} {} {} {} {method}",
                    request.uri,
                    checked.from_tag(),
                    checked.call_id,
                    checked.cseq.number,
                    via.sent_by(),
                    branch.as_deref().unwrap_or_default(),
                )
                .into(),
            ),
        }
    }
}
