//! Tools that the box knows itself: their words, their arguments.

use serde_json::{Value, json};

use crate::ai::tools::{HAND_OFF, Tool};
use crate::config::{BOOK_APPOINTMENT, SEND_PAYMENT_LINK};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::call) enum BuiltIn {
    HandOff,
    CollectDigits,
    TakeMessage,
    /// Fixed words and arguments, the customer's own system.
    BookAppointment,
    /// The same; or a text message with a link.
    SendPaymentLink,
}

impl BuiltIn {
    /// One that an agent has by naming it. What needs an address is declared as a tool of the customer's.
    pub(super) fn named(name: &str) -> Option<BuiltIn> {
        match name {
            "collect_digits" => Some(BuiltIn::CollectDigits),
            "take_message" => Some(BuiltIn::TakeMessage),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            BuiltIn::HandOff => HAND_OFF,
            BuiltIn::CollectDigits => "collect_digits",
            BuiltIn::TakeMessage => "take_message",
            BuiltIn::BookAppointment => BOOK_APPOINTMENT,
            BuiltIn::SendPaymentLink => SEND_PAYMENT_LINK,
        }
    }

    /// As a service is told of it; `agents`: to whom a call can be handed.
    pub(super) fn declared(self, agents: &[String]) -> Tool {
        let (description, parameters) = match self {
            BuiltIn::HandOff => (
                "Gives this call to a colleague who is better suited, without a redial. Tell the caller so before you \
                 call this, and say nothing afterwards.",
                object(
                    &json!({
                        "agent": { "type": "string", "enum": agents, "description": "The colleague." },
                        "summary": { "type": "string", "description": "What the caller wants and what is known so far." },
                    }),
                    &["agent"],
                ),
            ),
            BuiltIn::CollectDigits => (
                "Collects keys that the caller presses on the telephone, until '#', or as many as you ask for. Ask the \
                 caller for them before you call this.",
                object(
                    &json!({
                        "count": { "type": "integer", "minimum": 1, "maximum": 32, "description": "How many, if that is known." },
                        "timeout_seconds": { "type": "integer", "minimum": 3, "maximum": 60,
                                             "description": "How long to wait for the next key; 10 unless told." },
                    }),
                    &[],
                ),
            ),
            BuiltIn::TakeMessage => (
                "Keeps a message of the caller's for the people here, who get it after the call. Read it back to the caller \
                 before you call this.",
                object(
                    &json!({
                        "text": { "type": "string", "minLength": 1, "maxLength": 4000, "description": "The message." },
                        "call_back": { "type": "string", "maxLength": 40, "description": "The number to call back, if another than the caller's." },
                        "name": { "type": "string", "maxLength": 200, "description": "Who called." },
                    }),
                    &["text"],
                ),
            ),
            BuiltIn::BookAppointment => (
                "Books an appointment in the calendar here.",
                object(
                    &json!({
                        "start": { "type": "string", "format": "date-time", "description": "RFC 3339, e.g. 2026-03-09T15:30:00+01:00." },
                        "minutes": { "type": "integer", "minimum": 5, "maximum": 480, "description": "How long." },
                        "name": { "type": "string", "minLength": 1, "maxLength": 200, "description": "For whom." },
                        "phone": { "type": "string", "maxLength": 40, "description": "A number to reach them, if another than the caller's." },
                        "subject": { "type": "string", "maxLength": 1000, "description": "What it is about." },
                    }),
                    &["start", "name"],
                ),
            ),
            BuiltIn::SendPaymentLink => (
                "Sends the caller a link to pay by. Never ask for card data.",
                object(
                    &json!({
                        "reference": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$", "description": "The invoice or order that is paid." },
                        "amount": { "type": "string", "pattern": "^[0-9]{1,9}([.][0-9]{2})?$", "description": "E.g. 49.90." },
                        "currency": { "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217, e.g. EUR." },
                        "phone": { "type": "string", "pattern": "^[+]?[0-9]{2,15}$", "description": "Where to, if another number than the caller's." },
                    }),
                    &["reference"],
                ),
            ),
        };
        Tool { name: self.name().into(), description: description.into(), parameters }
    }
}

pub(super) fn no_arguments() -> Value {
    object(&json!({}), &[])
}

fn object(properties: &Value, required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tool_schema;

    #[test]
    fn every_schema_is_one() {
        let own = [
            BuiltIn::HandOff,
            BuiltIn::CollectDigits,
            BuiltIn::TakeMessage,
            BuiltIn::BookAppointment,
            BuiltIn::SendPaymentLink,
        ];
        for own in own {
            let tool = own.declared(&["sales".into()]);
            assert!(tool_schema(&tool.parameters).is_ok(), "{}", tool.name);
        }
        let schema = BuiltIn::HandOff.declared(&["sales".into()]).parameters;
        let schema = tool_schema(&schema).expect("a schema");
        assert!(schema.is_valid(&json!({ "agent": "sales" })) && !schema.is_valid(&json!({ "agent": "boss" })));
    }
}
