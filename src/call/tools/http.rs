//! A tool as a request to the customer's system, and that system's answer as the agent is told of it.
//!
//! `POST`: a JSON body `{ "tool", "call", "id", "agent", "direction", "phone", "number", "arguments" }`; `id` is that of this
//! use of the tool, the same never comes twice. `GET`: the arguments in the query, and `call`.
//!
//! | The system | The agent is told |
//! |---|---|
//! | answers 2xx with JSON | `{ "result": … }` |
//! | answers 2xx with anything else | `{ "result": "the text" }` |
//! | answers more than [`LONGEST`] | `{ "result": "the beginning", "note": … }` |
//! | answers 2xx, says that it is JSON, and it is not | `{ "error": … }` |
//! | answers another status | `{ "error": …, "detail": "its words" }` |
//! | is late, breaks off, cannot be reached, is where it may not be | `{ "error": … }` |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::ToolOutcome;
use crate::config::{Secret, ToolMethod};
use crate::directory::Tool;
use crate::ops::outbound::{Answer, Errand, Outbound, OutboundError};
use crate::ops::trust;

/// Octets of a result.
const LONGEST: usize = 16 << 10;
/// Of what a system says beside an error.
const DETAIL: usize = 500;
/// Whatever is configured.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// What the customer's system may know of the call.
#[derive(Debug, Clone, Default)]
pub(in crate::call) struct About {
    pub(in crate::call) call: String,
    pub(in crate::call) id: String,
    pub(in crate::call) agent: String,
    pub(in crate::call) direction: &'static str,
    pub(in crate::call) phone: String,
    pub(in crate::call) number: String,
}

/// Uses the tool once.
pub(in crate::call) async fn carry_out(
    outbound: &Outbound,
    tool: &Tool,
    headers: Option<Vec<(String, Secret)>>,
    about: &About,
    arguments: &Value,
) -> (ToolOutcome, Value) {
    let errand = headers
        .ok_or_else(|| "the secrets of this tool cannot be read".to_owned())
        .and_then(|headers| errand(tool, &headers, about, arguments));
    match errand {
        Ok(errand) => told(outbound.send(errand).await),
        Err(problem) => {
            tracing::warn!(tool = tool.name, "a tool cannot be used: {problem}");
            (ToolOutcome::Failed, json!({ "error": "this tool is not set up correctly" }))
        }
    }
}

fn errand(tool: &Tool, headers: &[(String, Secret)], about: &About, arguments: &Value) -> Result<Errand, String> {
    let url = tool.url.as_deref().ok_or("it has no url")?;
    let mut request = match tool.method {
        ToolMethod::Post => {
            let body = json!({
                "tool": tool.name, "call": about.call, "id": about.id, "agent": about.agent, "direction": about.direction,
                "phone": about.phone, "number": about.number, "arguments": arguments,
            });
            Request::post(url).header(CONTENT_TYPE, "application/json").body(Full::from(body.to_string()))
        }
        ToolMethod::Get => Request::get(address(url, about, arguments)).body(Full::from(Bytes::new())),
    }
    .map_err(|error| format!("url: {error}"))?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json, text/plain;q=0.5"));
    for (name, value) in headers {
        let field = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
        let mut value =
            HeaderValue::try_from(value.expose()).map_err(|_| format!("the header {name} has a bad value"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(field, value);
    }
    let tls = tool.ca.as_deref().map(|ca| trust::authorities("tools", Some(ca)).map(Arc::new)).transpose()?;
    let limit = Duration::from_secs(tool.timeout_seconds).clamp(Duration::from_secs(1), MOST_PATIENCE);
    Ok(Errand { request, networks: tool.networks.clone(), tls, limit, longest: LONGEST })
}

/// The address with the arguments in its query.
fn address(url: &str, about: &About, arguments: &Value) -> String {
    let mut address = url.to_owned();
    let arguments = arguments.as_object().into_iter().flatten();
    let pairs = arguments.map(|(name, value)| match value {
        Value::String(text) => (name.as_str(), text.clone()),
        other => (name.as_str(), other.to_string()),
    });
    for (name, value) in pairs.chain([("call", about.call.clone())]) {
        address.push(if address.contains('?') { '&' } else { '?' });
        escape(name, &mut address);
        address.push('=');
        escape(&value, &mut address);
    }
    address
}

/// RFC 3986 §2.1.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// What the agent is told.
fn told(answer: Result<Answer, OutboundError>) -> (ToolOutcome, Value) {
    let failed = |words: String| (ToolOutcome::Failed, json!({ "error": words }));
    let Answer { status, kind, body, cut } = match answer {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(
                cause = std::error::Error::source(&error).map(tracing::field::display),
                "a tool failed: {error}"
            );
            return failed(error.to_string());
        }
    };
    let text = || String::from_utf8_lossy(&body).into_owned();
    if status.is_redirection() {
        return failed("the system sends elsewhere, which is not followed".into());
    }
    if !status.is_success() {
        let mut detail = text();
        detail.truncate(detail.floor_char_boundary(DETAIL));
        let error = format!("the system answered {}", status.as_u16());
        return (ToolOutcome::Failed, json!({ "error": error, "detail": detail }));
    }
    if cut {
        let note = format!("Only the first {} characters or so; there was more.", body.len());
        return (ToolOutcome::Answered, json!({ "result": text(), "note": note }));
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(result) => (ToolOutcome::Answered, json!({ "result": result })),
        Err(_) if kind.split(';').next().is_some_and(|kind| kind.trim_end().ends_with("json")) && !body.is_empty() => {
            failed("the system's answer is broken".into())
        }
        Err(_) => (ToolOutcome::Answered, json!({ "result": text() })),
    }
}

#[cfg(test)]
mod served;

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn answered(status: u16, kind: &str, body: &str, cut: bool) -> (ToolOutcome, Value) {
        let status = StatusCode::from_u16(status).expect("a status");
        told(Ok(Answer { status, kind: kind.into(), body: body.to_owned().into(), cut }))
    }

    #[test]
    fn an_answer_is_data_and_nothing_else() {
        let ok = |value| (ToolOutcome::Answered, value);
        assert_eq!(answered(200, "application/json", r#"{"a":1}"#, false), ok(json!({ "result": { "a": 1 } })));
        assert_eq!(answered(200, "text/plain", "sent", false), ok(json!({ "result": "sent" })));
        assert_eq!(answered(204, "", "", false), ok(json!({ "result": "" })));
        let (outcome, value) = answered(200, "application/json", r#"{"a":"bbb"#, true);
        assert!(outcome == ToolOutcome::Answered && value["result"] == r#"{"a":"bbb"# && value["note"].is_string());
        for (status, kind, body) in
            [(200, "application/json", "{"), (500, "text/html", "<p>"), (404, "", ""), (302, "", "there")]
        {
            let (outcome, value) = answered(status, kind, body, false);
            assert!(outcome == ToolOutcome::Failed && value["error"].is_string(), "{status}: {value}");
        }
    }

    #[test]
    fn arguments_of_a_get_cannot_break_out_of_the_query() {
        let about = About { call: "c1".into(), ..About::default() };
        let arguments = json!({ "q": "a&b=c#d é", "n": 3, "list": [1] });
        assert_eq!(
            address("https://h/p?k=v", &about, &arguments),
            "https://h/p?k=v&list=%5B1%5D&n=3&q=a%26b%3Dc%23d%20%C3%A9&call=c1"
        );
    }
}
