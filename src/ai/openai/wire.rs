//! What the service says: server events of both dialects, read in one place.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Servers differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whatever a server event may hold that is of use. A field of another type than expected counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Words<'a>,
    #[serde(borrow)]
    pub response_id: Words<'a>,
    #[serde(borrow)]
    pub item_id: Words<'a>,
    #[serde(borrow)]
    pub delta: Words<'a>,
    #[serde(borrow)]
    pub transcript: Words<'a>,
    #[serde(borrow)]
    pub call_id: Words<'a>,
    #[serde(borrow)]
    pub name: Words<'a>,
    #[serde(borrow)]
    pub arguments: Words<'a>,
    pub content_index: Value,
    pub response: Value,
    pub item: Value,
    pub error: Value,
}

/// A text, borrowed where it can be; anything else is an empty one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Words<'a>(Cow<'a, str>);

impl std::ops::Deref for Words<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Words<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Words<'a>, D::Error> {
        deserializer.deserialize_any(Lenient)
    }
}

struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = Words<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Words<'de>, E> {
        Ok(Words(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Words<'de>, E> {
        Ok(Words(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Words<'de>, E> {
        Ok(Words::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Words<'de>, E> {
        Ok(Words::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Words<'de>, E> {
        Ok(Words::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Words<'de>, E> {
        Ok(Words::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Words<'de>, E> {
        Ok(Words::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Words::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Words<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Words::default())
    }
}

/// `None`: no JSON object.
pub fn read(text: &str) -> Option<Said<'_>> {
    // An array would be taken for the fields in their order.
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}

/// Appends the octets that `text` stands for to `out`; `false` when it is no base64.
pub fn octets(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let good = BASE64.decode_vec(text.as_bytes(), out).is_ok();
    if !good {
        out.truncate(start);
    }
    good
}

/// What an `error` says; always something.
pub fn complaint(error: &Value) -> String {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    match (text("code").or(text("type")), text("message")) {
        (Some(code), Some(message)) => format!("{message} ({code})"),
        (None, Some(words)) | (Some(words), None) => words.to_owned(),
        (None, None) => error.as_str().map_or_else(|| "an error without words".to_owned(), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_another_type_counts_as_absent_and_what_is_no_object_is_none() {
        let said = read(r#" {"type":"a\u0062","delta":{"x":[1]},"item_id":null,"name":7,"new":[{}],"call_id":"c"}"#);
        let said = said.expect("an object");
        assert_eq!((&*said.kind, &*said.delta, &*said.item_id, &*said.name, &*said.call_id), ("ab", "", "", "", "c"));
        for broken in ["", "[]", r#"["a"]"#, "7", "null", r#"{"type":"a""#, r#"{"type":"a","type":"b"}"#] {
            assert!(read(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn base64_is_taken_with_and_without_padding_and_nothing_else() {
        let read = |text: &str| {
            let mut out = vec![9];
            octets(text, &mut out).then_some(out)
        };
        assert_eq!(read("AAEC/w=="), Some(vec![9, 0, 1, 2, 255]));
        assert_eq!(read("AAEC/w"), Some(vec![9, 0, 1, 2, 255]));
        assert_eq!(read(""), Some(vec![9]));
        assert_eq!(read("A"), None);
        assert_eq!(read("AA_-"), None);
        let mut out = vec![9];
        assert!(!octets("AAECA*==", &mut out));
        assert_eq!(out, [9]);
    }

    #[test]
    fn a_complaint_always_says_something() {
        let words = |text: &str| complaint(&serde_json::from_str(text).expect("JSON"));
        assert_eq!(words(r#"{"code":"c","message":"m"}"#), "m (c)");
        assert_eq!(words(r#"{"type":"t","message":""}"#), "t");
        assert_eq!(words(r#""text""#), "text");
        assert_eq!(words("[]"), "an error without words");
    }
}
