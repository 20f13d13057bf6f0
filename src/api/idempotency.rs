//! `Idempotency-Key`: the same request again gets the first answer, another one under the same key 400, for a day.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::problem::Problem;
use crate::identity::Principal;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST: usize = 255;

/// The key, scoped by what is asked for (`scope`) and who asks, with a digest of what was asked.
pub(super) fn of(
    headers: &HeaderMap,
    scope: &str,
    principal: &Principal,
    body: &Map<String, Value>,
) -> Result<Option<(String, [u8; 32])>, Problem> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let good = |text: &&str| (1..=LONGEST).contains(&text.trim().len());
    let key = value
        .to_str()
        .ok()
        .filter(good)
        .ok_or_else(|| Problem::BadRequest("Idempotency-Key must have 1 to 255 visible ASCII characters".into()))?;
    // Members are written in one order, so that the same request is recognised however it is spelled.
    let canonical = canonical(&Value::Object(body.clone()));
    // With its length, so that no two pairs of name and key read the same.
    let scoped = format!("{scope}:{}:{}:{}", principal.actor.len(), principal.actor, key.trim());
    Ok(Some((scoped, Sha256::digest(canonical).into())))
}

/// Says that the answer is that of an earlier request.
pub(super) fn mark_replayed(response: &mut Response) {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            let members: Vec<String> = members
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_same_request_has_the_same_digest_however_it_is_spelled() {
        let stefan = Principal { organization: Uuid::nil(), actor: "stefan".into(), admin: true };
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap, text: &str| {
            super::of(
                headers,
                "codeb",
                &stefan,
                serde_json::from_str::<Value>(text).expect("JSON").as_object().expect("object"),
            )
        };
        assert_eq!(of(&headers, "{}"), Ok(None));
        headers.insert(IDEMPOTENCY_KEY, "order-7".parse().expect("header"));
        let one = of(&headers, r#"{"a":1,"b":{"c":2,"d":[1,2]}}"#).expect("key").expect("key");
        assert_eq!(one.0, "codeb:6:stefan:order-7");
        assert_eq!(of(&headers, r#" { "b":{"d":[1,2],"c":2}, "a":1 } "#).expect("key").expect("key"), one);
        assert_ne!(of(&headers, r#"{"a":2,"b":{"c":2,"d":[1,2]}}"#).expect("key").expect("key").1, one.1);
        headers.insert(IDEMPOTENCY_KEY, "x".repeat(256).parse().expect("header"));
        assert!(of(&headers, "{}").is_err());
    }
}
