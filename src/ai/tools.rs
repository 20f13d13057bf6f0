//! What every agent may ask the call to do: one declaration for all services, and one way to read their calls.

use serde_json::{Value, json};

use super::engine::{Event, Person, SessionOptions};

/// Hangs up once everything was said.
pub const END_CALL: &str = "end_call";
/// Connects the caller to the person of the number.
pub const TRANSFER_CALL: &str = "transfer_call";
/// Presses keys of the telephone.
pub const SEND_DTMF: &str = "send_dtmf";
/// Gives the call to another agent; declared by the call, which knows to whom.
pub const HAND_OFF: &str = "hand_off";

/// A tool as a service is told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: String,
    /// JSON schema of the arguments.
    pub parameters: Value,
}

/// The tools of one call.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    person: Option<Person>,
    /// Those of the agent, carried out elsewhere.
    own: Vec<Tool>,
}

impl Tools {
    /// Those that every agent has, and those of this call's agent.
    pub fn new(options: &SessionOptions) -> Tools {
        Tools { person: options.person.clone(), own: options.tools.clone() }
    }

    pub fn declared(&self) -> Vec<Tool> {
        let mut tools = vec![
            Tool {
                name: END_CALL.into(),
                description: "Hangs up the telephone call. Say goodbye before you call this.".into(),
                parameters: object(
                    &json!({
                        "reason": { "type": "string", "description": "How the call went, in a few words, for the record." }
                    }),
                    &[],
                ),
            },
            Tool {
                name: SEND_DTMF.into(),
                description: "Presses keys of the telephone, for a menu that asks for them.".into(),
                parameters: object(
                    &json!({
                        "keys": { "type": "string", "description": "One to 32 of the keys 0 to 9, * and #." }
                    }),
                    &["keys"],
                ),
            },
        ];
        if let Some(person) = &self.person {
            let whisper = json!({
                "whisper": { "type": "string", "description": "One sentence that the person hears before the caller." }
            });
            tools.push(Tool {
                name: TRANSFER_CALL.into(),
                description: "Connects the caller to a person, when the caller asks for one or you cannot help. \
                              Say so before you call this."
                    .into(),
                parameters: object(if person.whisper { &whisper } else { &Value::Null }, &[]),
            });
        }
        tools.extend(self.own.iter().cloned());
        tools
    }

    /// The call of a tool by the service. Whom the caller is connected to is never the service's choice.
    pub fn event(&self, id: String, name: String, mut arguments: Value) -> Event {
        if name == TRANSFER_CALL {
            if !arguments.is_object() {
                arguments = json!({});
            }
            if let Some(arguments) = arguments.as_object_mut() {
                arguments.remove("destination");
                if let Some(person) = &self.person {
                    arguments.insert("destination".into(), person.destination.clone().into());
                    if !person.whisper {
                        arguments.remove("whisper");
                    }
                }
            }
        }
        Event::ToolCall { id, name, arguments }
    }
}

/// Whether the agent has something to say when `name` was answered with `output`: not when the call ends, or a person or
/// another agent comes.
pub fn goes_on(name: &str, output: &Value) -> bool {
    !matches!(name, END_CALL | TRANSFER_CALL | HAND_OFF) || output.get("error").is_some()
}

fn object(properties: &Value, required: &[&str]) -> Value {
    let none = json!({});
    let properties = if properties.is_object() { properties } else { &none };
    let mut schema = json!({ "type": "object", "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_person(whisper: bool) -> Tools {
        let person = Some(Person { destination: "+49301".into(), whisper });
        Tools::new(&SessionOptions { person, ..SessionOptions::new(String::new()) })
    }

    #[test]
    fn a_person_is_offered_only_where_there_is_one() {
        let names = |tools: &Tools| tools.declared().iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&Tools::default()), [END_CALL, SEND_DTMF]);
        assert_eq!(names(&with_person(false)), [END_CALL, SEND_DTMF, TRANSFER_CALL]);
        let schema = |whisper| with_person(whisper).declared()[2].parameters.clone();
        assert_eq!(schema(false), json!({ "type": "object", "properties": {} }));
        assert_eq!(schema(true)["properties"]["whisper"]["type"], "string");
        assert_eq!(Tools::default().declared()[1].parameters["required"], json!(["keys"]));
    }

    #[test]
    fn an_agents_own_tools_stand_beside_those_that_every_agent_has() {
        let own =
            Tool { name: "order_status".into(), description: "Looks.".into(), parameters: object(&json!({}), &[]) };
        let options = SessionOptions { tools: vec![own.clone()], ..SessionOptions::new(String::new()) };
        let declared = Tools::new(&options).declared();
        assert_eq!((declared.len(), declared.last()), (3, Some(&own)));
    }

    #[test]
    fn whom_the_caller_is_connected_to_is_not_the_services_choice() {
        let arguments = |tools: &Tools, given: Value| match tools.event("1".into(), TRANSFER_CALL.into(), given) {
            Event::ToolCall { arguments, .. } => arguments,
            other => panic!("{other:?}"),
        };
        let given = json!({ "destination": "+1900", "whisper": "hello" });
        assert_eq!(arguments(&Tools::default(), given.clone()), json!({ "whisper": "hello" }));
        assert_eq!(arguments(&with_person(false), given.clone()), json!({ "destination": "+49301" }));
        assert_eq!(arguments(&with_person(true), given)["whisper"], "hello");
        assert_eq!(arguments(&with_person(true), Value::Null), json!({ "destination": "+49301" }));
    }
}
