//! Parameters of a request: a form (RFC 6749 §3.2) or a JSON object, each name at most once.

use std::collections::HashMap;

use axum::extract::Request;
use axum::http::header;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::api::body::{self, BodyLimits};
use crate::api::problem::Problem;

/// Decoded parameters; their values are wiped after use, since passwords are among them.
pub(super) struct Parameters(HashMap<String, Zeroizing<String>>);

impl Parameters {
    pub(super) async fn of(request: Request, limits: BodyLimits) -> Result<Parameters, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let json = kind.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("application/json"));
        let bytes = body::read(request.into_body(), limits).await?;
        if json { Parameters::of_json(&bytes) } else { Parameters::of_form(&bytes) }
    }

    /// The value when there and not empty (RFC 6749 §3.2: without a value is as if left out).
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, Problem> {
        self.text(name).ok_or_else(|| Problem::BadRequest(format!("{name} is required")))
    }

    pub(super) fn of_form(bytes: &[u8]) -> Result<Parameters, Problem> {
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::BadRequest("the form is not UTF-8".into()))?;
        let mut parameters = HashMap::new();
        for pair in text.trim_end_matches(['\r', '\n']).split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name)?;
            if parameters.insert(name.to_string(), decode(value)?).is_some() {
                return Err(Problem::BadRequest(format!("{} is given more than once", name.as_str())));
            }
        }
        Ok(Parameters(parameters))
    }

    fn of_json(bytes: &[u8]) -> Result<Parameters, Problem> {
        let mut parameters = HashMap::new();
        for (name, value) in body::json_object(bytes)? {
            match value {
                Value::String(text) => parameters.insert(name, Zeroizing::new(text)),
                Value::Null => None,
                _ => return Err(Problem::BadRequest(format!("{name} must be a string"))),
            };
        }
        Ok(Parameters(parameters))
    }
}

/// `application/x-www-form-urlencoded` (WHATWG URL §5.1).
fn decode(text: &str) -> Result<Zeroizing<String>, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next(), rest.next()].map(|digit| digit.and_then(|b| char::from(b).to_digit(16)));
                let [Some(high), Some(low)] = digits else { return Err(malformed()) };
                u8::try_from(high * 16 + low).map_err(|_| malformed())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| malformed())
}

fn malformed() -> Problem {
    Problem::BadRequest("the form is malformed".into())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use std::time::Duration;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 1000, time: Duration::from_secs(1) };

    async fn read(kind: &str, body: &'static [u8]) -> Result<Parameters, Problem> {
        let request = Request::builder().header(header::CONTENT_TYPE, kind).body(Body::from(body)).expect("request");
        Parameters::of(request, LIMITS).await
    }

    const FORM: &str = "application/x-www-form-urlencoded";

    #[tokio::test]
    async fn a_form_and_a_json_object_say_the_same() {
        let form = read(FORM, b"grant_type=password&scope=openid+offline_access&password=p%26%C3%A4%3D&empty=").await;
        let json = read(
            "application/json; charset=utf-8",
            "{\"grant_type\":\"password\",\"scope\":\"openid offline_access\",\"password\":\"p&ä=\",\"empty\":null}"
                .as_bytes(),
        )
        .await;
        for parameters in [form.expect("form"), json.expect("json")] {
            assert_eq!(parameters.text("grant_type"), Some("password"));
            assert_eq!(parameters.text("scope"), Some("openid offline_access"));
            assert_eq!(parameters.text("password"), Some("p&ä="));
            assert_eq!(parameters.text("empty"), None);
            assert!(parameters.required("username").is_err());
        }
    }

    #[tokio::test]
    async fn a_repeated_or_malformed_parameter_is_refused() {
        for body in [&b"a=1&a=2"[..], b"a=%", b"a=%4", b"a=%zz", b"a=%ff", b"\xff=1"] {
            assert!(matches!(read(FORM, body).await, Err(Problem::BadRequest(_))), "{body:?}");
        }
        for body in [&b"[]"[..], b"{\"a\":1}", b"{\"a\":{}}", b"{", b""] {
            assert!(matches!(read("application/json", body).await, Err(Problem::BadRequest(_))), "{body:?}");
        }
    }
}
