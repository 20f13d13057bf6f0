//! The calls of tools in an answer, put together from the pieces of its stream.
//!
//! | A piece has | It belongs to |
//! |---|---|
//! | an index that is known, and no other id | that call: its arguments go on |
//! | an index that is known with another id, or another name after whole arguments | a new call: some servers number all of them 0 |
//! | an index that is new | a new call |
//! | no index, but an id or a name | the call of that id, else a new one |
//! | nothing of these | the last call |

use serde_json::{Value, json};

use super::wire::CallDelta;

/// Calls in one answer, and octets of their arguments in all.
const CALLS: usize = 16;
const OCTETS: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Partial>,
    octets: usize,
}

#[derive(Debug, Default)]
struct Partial {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

/// A call of a tool as the server wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) struct Called {
    /// Empty when the server gave it none.
    pub(in crate::ai) id: String,
    pub(in crate::ai) name: String,
    /// An object; `None`: what came is none.
    pub(in crate::ai) arguments: Option<Value>,
}

/// More than any agent asks for.
#[derive(Debug, PartialEq)]
pub(super) struct TooMany;

impl Calls {
    pub(super) fn add(&mut self, delta: CallDelta) -> Result<(), TooMany> {
        let CallDelta { index, id, function } = delta;
        let (id, function) = (id.unwrap_or_default(), function.unwrap_or_default());
        let name = function.name.unwrap_or_default();
        let at = match self.find(index, &id, &name) {
            Some(at) => at,
            None if self.calls.len() == CALLS => return Err(TooMany),
            None => {
                self.calls.push(Partial { index, ..Partial::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name != name {
            call.name.push_str(&name);
        }
        let arguments = match function.arguments {
            Value::Null => String::new(),
            Value::String(piece) => piece,
            whole => whole.to_string(),
        };
        self.octets += arguments.len() + name.len();
        if self.octets > OCTETS {
            return Err(TooMany);
        }
        call.arguments.push_str(&arguments);
        Ok(())
    }

    fn find(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let known = |fits: &dyn Fn(&Partial) -> bool| self.calls.iter().rposition(fits);
        match index {
            Some(_) => known(&|call| call.index == index).filter(|at| {
                let call = &self.calls[*at];
                let another = !id.is_empty() && !call.id.is_empty() && id != call.id;
                let again = id.is_empty() && !name.is_empty() && call.is_whole();
                !another && !again
            }),
            None if !id.is_empty() => known(&|call| call.id == id),
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        }
    }

    /// Those that have a name, in the order in which they began.
    pub(super) fn finish(self) -> Vec<Called> {
        let named = self.calls.into_iter().filter(|call| !call.name.is_empty());
        named.map(|call| Called { arguments: object(&call.arguments), id: call.id, name: call.name }).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

impl Partial {
    /// Nothing can follow.
    fn is_whole(&self) -> bool {
        !self.name.is_empty() && serde_json::from_str::<Value>(&self.arguments).is_ok()
    }
}

/// No arguments are an empty object.
fn object(text: &str) -> Option<Value> {
    match serde_json::from_str(text) {
        _ if text.trim().is_empty() => Some(json!({})),
        Ok(Value::Null) => Some(json!({})),
        Ok(object @ Value::Object(_)) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_together(deltas: &[Value]) -> Vec<(String, String, Option<Value>)> {
        let mut calls = Calls::default();
        for delta in deltas {
            calls.add(serde_json::from_value(delta.clone()).expect("a delta")).expect("few");
        }
        calls.finish().into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: Value) -> (String, String, Option<Value>) {
        (id.into(), name.into(), Some(arguments))
    }

    #[test]
    fn pieces_of_several_calls_are_put_together_by_their_index() {
        let calls = put_together(&[
            json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "look", "arguments": "" } }),
            json!({ "index": 1, "id": "b", "function": { "name": "look", "arguments": "{\"n" } }),
            json!({ "index": 0, "function": { "arguments": "{\"n\":" } }),
            json!({ "index": 1, "function": { "arguments": "\":2}" } }),
            json!({ "index": 0, "id": "a", "function": { "name": "look", "arguments": "1}" } }),
        ]);
        assert_eq!(calls, [call("a", "look", json!({ "n": 1 })), call("b", "look", json!({ "n": 2 }))]);
    }

    #[test]
    fn whole_calls_are_told_apart_without_indices_or_with_the_same_or_without_ids() {
        let whole = |more: Value| {
            let mut delta = json!({ "function": { "name": "look", "arguments": { "n": 1 } } });
            more.as_object().expect("fields").iter().for_each(|(key, value)| delta[key] = value.clone());
            delta
        };
        for (first, second, ids) in [
            (json!({}), json!({}), ["", ""]),
            (json!({ "index": 0, "id": "a" }), json!({ "index": 0, "id": "b" }), ["a", "b"]),
            (json!({ "index": 0 }), json!({ "index": 0 }), ["", ""]),
            (json!({ "id": "a" }), json!({ "id": "b" }), ["a", "b"]),
            (json!({ "index": 3, "id": "" }), json!({ "index": 7, "id": null }), ["", ""]),
        ] {
            let calls = put_together(&[whole(first), whole(second)]);
            assert_eq!(calls, ids.map(|id| call(id, "look", json!({ "n": 1 }))));
        }
        let pieces = [
            json!({ "id": "a", "function": { "name": "look", "arguments": "{\"n\"" } }),
            json!({ "function": { "arguments": ":1}" } }),
        ];
        assert_eq!(put_together(&pieces), [call("a", "look", json!({ "n": 1 }))]);
    }

    #[test]
    fn arguments_that_are_no_object_are_none_and_missing_ones_are_empty() {
        let of = |arguments: Value| {
            put_together(&[json!({ "index": 0, "function": { "name": "x", "arguments": arguments } })])[0].2.clone()
        };
        for empty in [json!(null), json!(""), json!("null"), json!(" {}"), json!({})] {
            assert_eq!(of(empty), Some(json!({})));
        }
        for broken in [json!("{\"a\":"), json!("[1]"), json!("7"), json!([1])] {
            assert_eq!(of(broken), None);
        }
        assert_eq!(put_together(&[json!({ "index": 0, "function": { "arguments": "{}" } })]), [], "nobody is called");
    }

    #[test]
    fn a_server_that_calls_without_end_is_given_up() {
        let delta = |n: u64, arguments: &str| {
            let delta = json!({ "index": n, "function": { "name": "x", "arguments": arguments } });
            serde_json::from_value::<CallDelta>(delta).expect("a delta")
        };
        let mut calls = Calls::default();
        assert!((0..CALLS as u64).all(|n| calls.add(delta(n, "{}")).is_ok()));
        assert_eq!(calls.add(delta(99, "{}")), Err(TooMany));
        let mut calls = Calls::default();
        let piece = "x".repeat(OCTETS / 2);
        assert_eq!(calls.add(delta(0, &piece)), Ok(()));
        assert_eq!(calls.add(delta(0, &piece)), Err(TooMany));
    }
}
