//! What the service says.

use serde::Deserialize;
use serde_json::Value;

use crate::ai::openai::wire::Words;

/// Whatever a server event may hold that is of use. A field of another type than expected counts as absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Words<'a>,
    #[serde(borrow)]
    pub delta: Words<'a>,
    #[serde(borrow)]
    pub reason: Words<'a>,
    pub session: Value,
    pub delegation: Value,
    /// Of the model that does the work: an event of the Responses protocol.
    pub event: Value,
    pub error: Value,
}

/// `None`: no JSON object.
pub fn read(text: &str) -> Option<Said<'_>> {
    // An array would be taken for the fields in their order.
    text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}
