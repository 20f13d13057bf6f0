//! Fields of a JSON object, read one by one, each refusal naming its field. Unknown fields are ignored.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::problem::Problem;

pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// A string; absent and `null` are alike.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad(name, "must be a string")),
        }
    }

    /// A string that must be there and hold more than blanks.
    pub(super) fn required(&self, name: &str) -> Result<&'a str, Problem> {
        let text = self.text(name)?.ok_or_else(|| bad(name, "is required"))?;
        if text.trim().is_empty() { Err(bad(name, "must not be empty")) } else { Ok(text) }
    }

    /// A string of one line that is `None` when absent or empty.
    pub(super) fn line(&self, name: &str, longest: usize) -> Result<Option<&'a str>, Problem> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.map(|text| one_line(name, text, longest)).transpose()
    }

    /// A whole number within `range`.
    pub(super) fn whole(&self, name: &str, range: RangeInclusive<u32>, absent: u32) -> Result<u32, Problem> {
        let value = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(absent),
            Some(value) => value,
        };
        let outside = || bad(name, &format!("must be between {} and {}", range.start(), range.end()));
        if !value.is_i64() && !value.is_u64() {
            return Err(bad(name, "must be a whole number"));
        }
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(outside)?;
        if range.contains(&number) { Ok(number) } else { Err(outside()) }
    }
}

/// Refuses control characters, which could otherwise reach a SIP or mail header.
pub(super) fn one_line<'a>(name: &str, text: &'a str, longest: usize) -> Result<&'a str, Problem> {
    if text.chars().any(char::is_control) {
        return Err(bad(name, "must not contain control characters"));
    }
    if text.chars().count() > longest {
        return Err(bad(name, &format!("must not be longer than {longest} characters")));
    }
    Ok(text)
}

pub(super) fn bad(name: &str, problem: &str) -> Problem {
    Problem::BadRequest(format!("{name} {problem}"))
}
