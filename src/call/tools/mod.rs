//! What the agent of a call may do beyond talking: tools of the customer's systems, and those of the box.
//!
//! An agent's name becomes a [`Part`] at every call, so that a change counts from the next call on. A call of a tool
//! comes from the media thread as a report; the actor asks [`Toolbox::judge`], lets the request run beside the call, and
//! sends the answer back as a command. Nothing is asked twice, nothing outlives the call, and of arguments and results
//! no word goes into the log.
//!
//! | A call of a tool | Its answer |
//! |---|---|
//! | that this agent does not have | an error, at once |
//! | whose arguments its schema refuses | an error that names the field, at once; nothing is requested |
//! | that changes something, the first in a call of an agent that must confirm | an instruction to repeat it to the caller, at once |
//! | while [`MOST_AT_ONCE`] requests run | an error, at once |
//! | of a customer's system | what that answered, or an honest error |

use serde_json::Value;
use uuid::Uuid;

use super::room::Room;
use crate::ai::Person;
use crate::ai::tools::Tool as Declared;
use crate::config::{BOOK_APPOINTMENT, SEND_PAYMENT_LINK, tool_schema};
use crate::directory::{Agent, Tool};
use crate::store::StoreError;

pub(super) mod builtin;
pub(super) mod digits;
pub(super) mod http;
mod policy;
mod record;

use builtin::BuiltIn;
pub(super) use policy::Policy;
pub use record::{TakenMessage, ToolOutcome, ToolUse};

/// Requests of one call that may run at once.
pub(super) const MOST_AT_ONCE: usize = 4;
/// Problems of arguments that are told at once, and octets of each.
const PROBLEMS: usize = 3;
const PROBLEM: usize = 200;

/// An agent's part in a call.
#[derive(Default)]
pub(super) struct Part {
    /// The agent's name; `None` for instructions without one.
    pub(super) agent: Option<String>,
    pub(super) instructions: String,
    pub(super) greeting: Option<String>,
    pub(super) voice: Option<String>,
    pub(super) language: Option<String>,
    /// Whom a caller may ask for.
    pub(super) person: Option<Person>,
    pub(super) max_seconds: Option<u32>,
    pub(super) toolbox: Toolbox,
}

impl Part {
    /// Instructions alone.
    pub(super) fn inline(instructions: String) -> Part {
        Part { instructions, ..Part::default() }
    }

    /// The agent `name` as it is now; `None` when there is none.
    pub(super) fn of_agent(room: &Room, organization: Uuid, name: &str) -> Result<Option<Part>, StoreError> {
        let Some(agent) = room.directory.agent(organization, name)? else { return Ok(None) };
        let toolbox = Toolbox::of(room, &agent)?;
        Ok(Some(Part {
            instructions: room.directory.resolve_prompt(organization, &agent.instructions)?,
            agent: Some(agent.name),
            greeting: agent.greeting,
            voice: agent.voice,
            language: agent.language,
            person: agent.transfer_to.map(|destination| Person { destination, whisper: agent.transfer_whisper }),
            max_seconds: agent.max_duration_seconds,
            toolbox,
        }))
    }
}

/// What an agent may use in a call.
#[derive(Default)]
pub(super) struct Toolbox {
    entries: Vec<Entry>,
    policy: Policy,
}

struct Entry {
    declared: Declared,
    way: Way,
    write: bool,
}

/// How a tool is carried out.
#[derive(Clone)]
enum Way {
    Request(Box<Tool>),
    /// The box's own; of one that is the customer's otherwise, what was configured.
    Own(BuiltIn, Option<Box<Tool>>),
}

/// What is to be done about a call of a tool.
pub(super) enum Verdict {
    /// A request to the customer's system.
    Request(Box<Tool>),
    Own(BuiltIn, Option<Box<Tool>>),
    /// Nothing but this answer.
    Refused(ToolOutcome, Value),
}

impl Toolbox {
    fn of(room: &Room, agent: &Agent) -> Result<Toolbox, StoreError> {
        let mut entries = Vec::new();
        for name in &agent.tools {
            if let Some(own) = BuiltIn::named(name) {
                entries.push(Entry { declared: own.declared(&[]), way: Way::Own(own, None), write: false });
            } else if let Some(tool) = room.directory.tool(agent.organization, name)? {
                entries.push(Entry::request(tool));
            } else {
                tracing::warn!(agent = agent.name, tool = name, "an agent's tool does not exist");
            }
        }
        if !agent.hand_offs.is_empty() {
            let own = BuiltIn::HandOff;
            entries.push(Entry { declared: own.declared(&agent.hand_offs), way: Way::Own(own, None), write: false });
        }
        Ok(Toolbox { entries, policy: Policy::new(agent.confirm_first_write) })
    }

    /// As the service is told of them.
    pub(super) fn declared(&self) -> Vec<Declared> {
        self.entries.iter().map(|entry| entry.declared.clone()).collect()
    }

    /// What is known of the caller and the agent is told to this.
    pub(super) fn policy(&mut self) -> &mut Policy {
        &mut self.policy
    }

    /// What the caller hears while `name` takes long.
    pub(super) fn filler(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.declared.name == name)?;
        match &entry.way {
            Way::Request(tool) => tool.filler.as_deref(),
            Way::Own(..) => None,
        }
    }

    /// What is to be done; `after`: the agent's last item.
    pub(super) fn judge(&mut self, name: &str, arguments: &Value, after: u64) -> Verdict {
        let refused = |outcome, words: String| Verdict::Refused(outcome, serde_json::json!({ "error": words }));
        let Some(entry) = self.entries.iter().find(|entry| entry.declared.name == name) else {
            return refused(ToolOutcome::Unknown, "there is no such tool".into());
        };
        if let Err(problem) = check(&entry.declared.parameters, arguments) {
            return refused(ToolOutcome::WrongArguments, format!("nothing was done: {problem}"));
        }
        if entry.write && !self.policy.allows(name, arguments, after) {
            return Verdict::Refused(ToolOutcome::Unconfirmed, policy::instruction());
        }
        match &entry.way {
            Way::Request(tool) => Verdict::Request(tool.clone()),
            Way::Own(own, tool) => Verdict::Own(*own, tool.clone()),
        }
    }
}

impl Entry {
    fn request(tool: Tool) -> Entry {
        let own = match tool.name.as_str() {
            BOOK_APPOINTMENT => Some(BuiltIn::BookAppointment),
            SEND_PAYMENT_LINK => Some(BuiltIn::SendPaymentLink),
            _ => None,
        };
        let declared = match own {
            Some(own) => own.declared(&[]),
            None => Declared {
                name: tool.name.clone(),
                description: tool.description.clone(),
                parameters: tool.parameters.clone().unwrap_or_else(builtin::no_arguments),
            },
        };
        let write = tool.write || own.is_some();
        let way = match own.filter(|_| tool.url.is_none()) {
            Some(own) => Way::Own(own, Some(Box::new(tool))),
            None => Way::Request(Box::new(tool)),
        };
        Entry { declared, way, write }
    }
}

/// Whether `arguments` are what `schema` asks for; the error names the fields.
fn check(schema: &Value, arguments: &Value) -> Result<(), String> {
    let Ok(validator) = tool_schema(schema) else { return Err("the tool's schema is broken".into()) };
    let told = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let mut words = error.to_string();
        words.truncate(words.floor_char_boundary(PROBLEM));
        match place.trim_start_matches('/') {
            "" => words,
            field => format!("{}: {words}", field.replace('/', ".")),
        }
    };
    let problems: Vec<String> = validator.iter_errors(arguments).take(PROBLEMS).map(told).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrong_with_arguments_is_told_with_the_field() {
        let schema = json!({
            "type": "object",
            "properties": { "order": { "type": "string", "pattern": "^[0-9]{4}$" }, "n": { "type": "integer", "maximum": 9 } },
            "required": ["order"],
            "additionalProperties": false,
        });
        assert_eq!(check(&schema, &json!({ "order": "1234", "n": 3 })), Ok(()));
        for (arguments, field) in [
            (json!({}), "order"),
            (json!({ "order": 1234 }), "order: "),
            (json!({ "order": "12" }), "order: "),
            (json!({ "order": "1234", "n": 10 }), "n: "),
            (json!({ "order": "1234", "no": 1 }), "no"),
            (json!("1234"), "object"),
        ] {
            let problem = check(&schema, &arguments).expect_err("refused");
            assert!(problem.contains(field), "{arguments}: {problem}");
        }
        let long = check(&schema, &json!({ "order": "ü".repeat(5_000) })).expect_err("refused");
        assert!(long.len() < 3 * PROBLEM, "{}", long.len());
    }
}
