//! Request bodies: read whole, bounded in size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::problem::Problem;

const LARGEST_OF_STRANGERS: usize = 16 * 1024;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

impl BodyLimits {
    /// For bodies of strangers, who may send many at once: room for a token and a password, and little more.
    pub(super) fn of_strangers(self) -> BodyLimits {
        BodyLimits { bytes: self.bytes.min(LARGEST_OF_STRANGERS), ..self }
    }
}

pub(super) async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    match tokio::time::timeout(limits.time, Limited::new(body, limits.bytes).collect()).await {
        Err(_) => Err(Problem::BodyTimeout),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge { limit: limits.bytes }),
        Ok(Err(_)) => Err(Problem::BadRequest("the request body was cut off".into())),
    }
}

/// A body that must be a JSON object, whatever its content type says. A member that is there twice is refused: two
/// readers of the same text could take a different one (RFC 8259 §4).
pub(super) fn json_object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::BadRequest("a JSON object is required as the body".into()));
    }
    // serde_json stops at 128 levels, so nesting cannot exhaust the stack.
    match serde_json::from_slice(bytes) {
        Ok(Members(map)) => Ok(map),
        Err(error) => Err(Problem::BadRequest(format!("the body is not valid JSON: {error}"))),
    }
}

struct Members(Map<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EachOnce).map(Members)
    }
}

struct EachOnce;

impl<'de> Visitor<'de> for EachOnce {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if map.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name} is given more than once")));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_json_object_passes() {
        assert!(json_object(br#"{"a":1}"#).is_ok());
        let deep = "[".repeat(100_000);
        let bodies: [&[u8]; 8] = [b"", b" \n", b"[]", b"\"x\"", b"{", b"{\"a\":1}}", b"\xff\xfe{}", deep.as_bytes()];
        for body in bodies {
            assert!(matches!(json_object(body), Err(Problem::BadRequest(_))), "{body:.20?}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused() {
        let refused = json_object(br#"{"phone":"+4930","phone":"+1900"}"#).expect_err("twice");
        assert!(refused.text().contains("phone is given more than once"), "{refused:?}");
        assert!(json_object(br#"{"phone":"+4930","Phone":"+1900","x":{"phone":1}}"#).is_ok());
    }

    #[test]
    fn strangers_may_send_less() {
        let limits = |bytes| BodyLimits { bytes, time: Duration::from_secs(1) };
        assert_eq!(limits(1 << 20).of_strangers().bytes, 16 * 1024);
        assert_eq!(limits(2000).of_strangers().bytes, 2000);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_without_its_length_being_announced() {
        let limits = BodyLimits { bytes: 10, time: Duration::from_secs(5) };
        let chunks = futures_util::stream::iter((0..4).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"12345"))));
        assert_eq!(read(Body::from_stream(chunks), limits).await, Err(Problem::TooLarge { limit: 10 }));
        assert_eq!(read(Body::from("1234567890"), limits).await.expect("fits").len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up() {
        let limits = BodyLimits { bytes: 10, time: Duration::from_secs(5) };
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(never, limits).await, Err(Problem::BodyTimeout));
    }
}
