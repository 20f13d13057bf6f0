//! `POST /v1/calls`: the body becomes an order, or a refusal that names the field.

use std::time::Duration;

use lettre::Address;
use serde_json::{Map, Value};

use crate::api::fields::{Fields, bad, one_line};
use crate::api::problem::Problem;
use crate::call::PlaceCall;
use crate::clock::UtcTime;
use crate::config::Secret;
use crate::directory::Organization;
use crate::identity::Principal;

/// Selects the box's own engine.
const LOCAL_KEY: &str = "local";
const LONGEST_LABEL: usize = 64;
const LONGEST_MODEL: usize = 128;
const LONGEST_PROMPT: usize = 64 * 1024;
const LONGEST_KEY: usize = 4096;
const LONGEST_EMAIL: usize = 254;

/// Reads the body's fields.
pub(super) fn order(
    body: &Map<String, Value>,
    organization: &Organization,
    principal: &Principal,
    is_extension: impl Fn(&str) -> bool,
) -> Result<PlaceCall, Problem> {
    let fields = Fields(body);
    let phone = phone(&fields, is_extension)?;
    Ok(PlaceCall {
        organization: organization.id,
        tenant: organization.host.clone(),
        requested_by: principal.actor.clone(),
        uri: None,
        trunk: fields.line("trunk", LONGEST_LABEL)?.map(str::to_owned),
        display_name: fields.line("displayName", LONGEST_LABEL)?.unwrap_or(&phone).to_owned(),
        phone,
        email: Some(email(&fields)?),
        prompt: prompt(&fields)?,
        engine_key: engine_key(&fields)?,
        model: fields.line("model", LONGEST_MODEL)?.map(str::to_owned),
        voice: fields.line("voice", LONGEST_LABEL)?.unwrap_or(&organization.voice).to_owned(),
        language: language(&fields)?.unwrap_or(&organization.language).to_owned(),
        max_duration: Duration::from_secs(fields.whole("maxSeconds", 10..=3600, 300)?.into()),
        retries: fields.whole("retries", 0..=10, 0)?,
        retry_delay: Duration::from_secs(60 * u64::from(fields.whole("retryDelayMinutes", 1..=1440, 5)?)),
        scheduled_for: schedule(&fields)?,
        whitelist: true,
        idempotency: None,
    })
}

/// E.164: a plus sign, a country code that does not begin with 0, at most 15 digits in all. Or one of the box's own
/// extensions, which needs no trunk.
fn phone(fields: &Fields<'_>, is_extension: impl Fn(&str) -> bool) -> Result<String, Problem> {
    let text = fields.required("phone")?;
    if is_extension(text) {
        return Ok(text.to_owned());
    }
    let digits = text.strip_prefix('+').unwrap_or_default();
    let good =
        (2..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if good { Ok(text.to_owned()) } else { Err(bad("phone", "must be an E.164 number such as +4915157610183")) }
}

fn email(fields: &Fields<'_>) -> Result<String, Problem> {
    let text = one_line("email", fields.required("email")?, LONGEST_EMAIL)?;
    text.parse::<Address>().map_err(|_| bad("email", "must be an e-mail address"))?;
    Ok(text.to_owned())
}

/// Text of any lines; other control characters have no business in it.
fn prompt(fields: &Fields<'_>) -> Result<String, Problem> {
    let text = fields.required("systemPrompt")?;
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(bad("systemPrompt", "must not contain control characters"));
    }
    if text.len() > LONGEST_PROMPT {
        return Err(bad("systemPrompt", "must not be longer than 65536 bytes"));
    }
    Ok(text.to_owned())
}

fn engine_key(fields: &Fields<'_>) -> Result<Option<Secret>, Problem> {
    let text = one_line("apiKey", fields.required("apiKey")?, LONGEST_KEY)?;
    Ok((text != LOCAL_KEY).then(|| Secret::new(text)))
}

/// A language tag (BCP 47 in outline).
fn language<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Problem> {
    let Some(text) = fields.line("language", 35)? else { return Ok(None) };
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    let good = (2..=8).contains(&first.len())
        && first.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if good { Ok(Some(text)) } else { Err(bad("language", "must be a language tag such as en-US")) }
}

fn schedule(fields: &Fields<'_>) -> Result<Option<UtcTime>, Problem> {
    let Some(text) = fields.text("scheduleAtUtc")? else { return Ok(None) };
    iso_utc(text)
        .map(Some)
        .ok_or_else(|| bad("scheduleAtUtc", "must be an ISO 8601 time in UTC, e.g. 2026-06-04T17:55:12Z"))
}

/// ISO 8601; without an offset it is UTC, which the fields' names promise.
pub(super) fn iso_utc(text: &str) -> Option<UtcTime> {
    UtcTime::parse(text).or_else(|| UtcTime::parse(&format!("{text}Z")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn organization() -> Organization {
        Organization {
            id: Uuid::nil(),
            host: "phone.codeb.io".into(),
            name: "CodeB".into(),
            voice: "Aoede".into(),
            language: "en-US".into(),
        }
    }

    fn stefan() -> Principal {
        Principal { organization: Uuid::nil(), actor: "stefan".into(), admin: true }
    }

    /// The document's curl line.
    fn example() -> Value {
        json!({
            "phone": "+4915157610183",
            "displayName": "Reminder",
            "email": "ops@example.com",
            "systemPrompt": "You are calling Stefan to remind him about his dental appointment tomorrow at 14:00.",
            "apiKey": "AIza...",
            "voice": "Aoede",
            "language": "en-US",
            "maxSeconds": 180
        })
    }

    fn read(body: &Value) -> Result<PlaceCall, Problem> {
        order(body.as_object().expect("object"), &organization(), &stefan(), |text| text == "10")
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = example();
        body[name] = value;
        body
    }

    #[test]
    fn an_extension_of_the_box_is_a_destination() {
        assert_eq!(read(&with("phone", json!("10"))).expect("order").phone, "10");
        assert!(read(&with("phone", json!("11"))).is_err());
    }

    #[test]
    fn the_documents_example_is_an_order() {
        let order = read(&example()).expect("order");
        assert_eq!(order.phone, "+4915157610183");
        assert_eq!(order.display_name, "Reminder");
        assert_eq!(order.email.as_deref(), Some("ops@example.com"));
        assert_eq!(order.engine_key.expect("key").expose(), "AIza...");
        assert_eq!(order.max_duration, Duration::from_secs(180));
        assert_eq!((order.tenant.as_str(), order.requested_by.as_str()), ("phone.codeb.io", "stefan"));
        assert!(order.whitelist && order.uri.is_none());
    }

    #[test]
    fn what_is_left_out_has_the_documented_default() {
        let body = json!({"phone": "+4915157610183", "email": "a@b.de", "systemPrompt": "reminder", "apiKey": "local",
            "model": null, "voice": "", "unknown": {"ignored": true}});
        let order = read(&body).expect("order");
        assert_eq!(order.display_name, "+4915157610183");
        assert_eq!((order.voice.as_str(), order.language.as_str()), ("Aoede", "en-US"));
        assert_eq!(order.max_duration, Duration::from_secs(300));
        assert_eq!((order.retries, order.retry_delay), (0, Duration::from_secs(300)));
        assert!(order.model.is_none() && order.scheduled_for.is_none());
        assert!(order.engine_key.is_none(), "`local` is the box's own engine");
    }

    #[test]
    fn the_ends_of_every_range_are_good() {
        for (name, low, high) in [("maxSeconds", 10, 3600), ("retries", 0, 10), ("retryDelayMinutes", 1, 1440)] {
            for value in [low, high] {
                assert!(read(&with(name, json!(value))).is_ok(), "{name} {value}");
            }
            for value in [json!(i64::from(low) - 1), json!(high + 1), json!(-1), json!(u64::MAX)] {
                assert!(read(&with(name, value.clone())).is_err(), "{name} {value}");
            }
        }
    }

    #[test]
    fn every_refusal_names_its_field() {
        let table = [
            (
                "phone",
                vec![
                    json!(null),
                    json!(4915),
                    json!(""),
                    json!("4915157610183"),
                    json!("+0123456"),
                    json!("+49 151"),
                    json!("+1234567890123456"),
                    json!("+"),
                    json!("+49\r\n"),
                    json!(["+49"]),
                    json!("+４９"),
                ],
            ),
            (
                "email",
                vec![
                    json!(null),
                    json!(1),
                    json!(""),
                    json!("ops"),
                    json!("@b"),
                    json!("a@b\r\nBcc: c@d"),
                    json!(format!("{}@b.de", "x".repeat(260))),
                ],
            ),
            ("systemPrompt", vec![json!(null), json!({}), json!("  \n"), json!("a\u{0}b"), json!("x".repeat(70_000))]),
            ("apiKey", vec![json!(null), json!(""), json!(" "), json!(true), json!("a\nb"), json!("x".repeat(5000))]),
            ("displayName", vec![json!(1), json!("a\r\nContact: <sip:x>"), json!("a\u{7f}"), json!("x".repeat(65))]),
            ("model", vec![json!(1), json!("a\u{1}"), json!("x".repeat(129))]),
            ("voice", vec![json!([]), json!("a\tb")]),
            ("trunk", vec![json!(1), json!("a\r\nRoute: <sip:x>"), json!("x".repeat(65))]),
            ("language", vec![json!(1), json!("english please"), json!("e"), json!("en_US"), json!("en-")]),
            ("maxSeconds", vec![json!("180"), json!(180.5), json!(180.0), json!(true), json!(9), json!(3601)]),
            ("retries", vec![json!("1"), json!(11), json!([])]),
            ("retryDelayMinutes", vec![json!(0), json!(1441), json!({})]),
            (
                "scheduleAtUtc",
                vec![
                    json!(""),
                    json!("tomorrow"),
                    json!(1_780_000_000),
                    json!("2026-02-30T10:00:00Z"),
                    json!("2026-06-04"),
                ],
            ),
        ];
        for (name, values) in table {
            for value in values {
                match read(&with(name, value.clone())) {
                    Err(Problem::BadRequest(text)) => assert!(text.starts_with(name), "{name} {value}: {text}"),
                    other => panic!("{name} {value}: {other:?}"),
                }
            }
        }
        for name in ["phone", "email", "systemPrompt", "apiKey"] {
            let mut body = example();
            body.as_object_mut().expect("object").remove(name);
            assert_eq!(read(&body).err(), Some(Problem::BadRequest(format!("{name} is required"))));
        }
    }

    #[test]
    fn a_schedule_is_utc_with_or_without_an_offset() {
        let due = |text: &str| read(&with("scheduleAtUtc", json!(text))).expect(text).scheduled_for.expect("due");
        let expected = UtcTime::parse("2026-06-04T17:55:12Z").expect("time");
        for text in
            ["2026-06-04T17:55:12Z", "2026-06-04T17:55:12", "2026-06-04T19:55:12+02:00", "2026-06-04T17:55:12.000Z"]
        {
            assert_eq!(due(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_in_any_field_panics_or_lets_a_control_character_through(
            name in prop::sample::select(vec![
                "phone", "displayName", "email", "apiKey", "model", "voice", "language", "trunk"
            ]),
            text in ".*",
        ) {
            if let Ok(order) = read(&with(name, json!(text))) {
                let shown = [order.phone, order.display_name, order.email.unwrap_or_default(),
                    order.model.unwrap_or_default(), order.voice, order.language,
                    order.trunk.unwrap_or_default()].concat();
                prop_assert!(!shown.chars().any(char::is_control));
            }
        }
    }
}
