//! Tools of the chat brain; OpenAI's own types write the streams and judge every request.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline::ai::tools::Tool;
use trunkline::ai::{Command, Event, Person, SessionOptions};

use super::mute;
use super::server::{Answer, MINUTE, Server, chunks, stream};
use crate::common::{Phone, options};
use crate::voice;
use trunkline::speech::Voice;

/// An agent that can look something up, with a person behind it.
fn agent() -> SessionOptions {
    let parameters = json!({ "type": "object", "properties": { "day": { "type": "string" } }, "required": ["day"] });
    let look = Tool { name: "look".into(), description: "Looks into the calendar.".into(), parameters };
    let person = Some(Person { destination: "+4930123".into(), whisper: true });
    SessionOptions { tools: vec![look], person, ..options("") }
}

fn greeted(server: &Server) -> Phone {
    let mut phone = server.phone_with(&mute(), agent());
    phone.command(Command::Greet);
    phone
}

fn with_tools(answers: Vec<Answer>) -> Server {
    Server { tools: true, ..Server::start(answers) }
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    let function = json!({ "name": name, "arguments": arguments });
    json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
}

fn piece(index: u64, arguments: &str) -> Value {
    json!({ "tool_calls": [{ "index": index, "function": { "arguments": arguments } }] })
}

fn is_tool(event: &Event) -> bool {
    matches!(event, Event::ToolCall { .. })
}

fn tool(phone: &mut Phone) -> (String, String, Value) {
    match phone.until(MINUTE, is_tool) {
        Event::ToolCall { id, name, arguments } => (id, name, arguments),
        other => panic!("{other:?}"),
    }
}

fn messages(server: &Server, index: usize) -> Vec<Value> {
    server.request(index).2["messages"].as_array().expect("messages")[1..].to_vec()
}

#[test]
fn a_tool_is_called_from_pieces_and_its_result_is_spoken_about() {
    let asks = chunks(&json!([
        { "role": "assistant", "content": "One moment, " },
        { "content": "I look. " },
        call(0, "call_a", "look", ""),
        piece(0, "{\"da"),
        piece(0, "y\":\"Monday\"}"),
    ]));
    let server = with_tools(vec![Answer::Stream(asks, 7), Answer::Stream(stream("Monday is free."), 50)]);
    let mut phone = greeted(&server);
    let called = tool(&mut phone);
    assert_eq!(called, ("call_a".into(), "look".into(), json!({ "day": "Monday" })));
    let turn_over = |phone: &Phone| phone.events.iter().any(|(_, event)| *event == Event::TurnEnd);
    phone.run(Duration::from_secs(5));
    assert!(!turn_over(&phone), "the agent is about to go on");
    assert_eq!(server.requests.lock().expect("requests").len(), 1, "nothing is asked before the result");
    phone.command(Command::ToolResult { id: "call_a".into(), output: json!({ "free": true }) });
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["One moment, I look.", "Monday is free."]);
    let (.., body) = server.request(0);
    let names: Vec<&Value> =
        body["tools"].as_array().expect("tools").iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["end_call", "send_dtmf", "transfer_call", "look"]);
    let system = body["messages"][0]["content"].as_str().expect("text");
    assert!(!system.contains("[hangup]") && !system.contains("[transfer]"), "{system}");
    let said = messages(&server, 1);
    assert_eq!(
        said[1],
        json!({ "role": "assistant", "content": "One moment, I look.", "tool_calls": [{ "id": "call_a",
                "type": "function", "function": { "name": "look", "arguments": "{\"day\":\"Monday\"}" } }] })
    );
    assert_eq!(said[2], json!({ "role": "tool", "tool_call_id": "call_a", "content": "{\"free\":true}" }));
    assert_eq!(said.len(), 3);
    server.judged();
}

#[test]
fn several_calls_of_one_answer_are_all_waited_for_and_broken_arguments_are_told() {
    let asks = chunks(&json!([
        call(0, "a", "look", "{\"day\":"),
        call(1, "b", "look", "{}"),
        piece(0, "\"Monday\"}"),
        call(2, "c", "look", "{\"day\""),
    ]));
    let server = with_tools(vec![Answer::Stream(asks, 400), Answer::Stream(stream("Both are free."), 50)]);
    let mut phone = greeted(&server);
    tool(&mut phone);
    phone.run(Duration::from_millis(200));
    let ids: Vec<&Event> = phone.events.iter().map(|(_, event)| event).filter(|event| is_tool(event)).collect();
    assert_eq!(ids.len(), 2, "what is no JSON is not carried out");
    phone.command(Command::ToolResult { id: "b".into(), output: "Tuesday".into() });
    phone.run(Duration::from_secs(2));
    assert_eq!(server.requests.lock().expect("requests").len(), 1);
    phone.command(Command::ToolResult { id: "a".into(), output: json!({ "error": "closed" }) });
    phone.until_played(MINUTE);
    let said = messages(&server, 1);
    let results: Vec<(&Value, &Value)> =
        said[2..].iter().map(|message| (&message["tool_call_id"], &message["content"])).collect();
    let told = ["{\"error\":\"closed\"}", "Tuesday", "{\"error\":\"the arguments are no JSON object\"}"]
        .map(|text| json!(text));
    assert_eq!(results, [(&json!("a"), &told[0]), (&json!("b"), &told[1]), (&json!("c"), &told[2])]);
    assert_eq!(said[1]["content"], Value::Null);
    server.judged();
}

#[test]
fn a_server_that_sends_whole_calls_without_ids_and_with_objects_is_understood() {
    let whole = json!({ "function": { "name": "look", "arguments": { "day": "Monday" } } });
    let line =
        json!({ "choices": [{ "delta": { "role": "assistant", "content": "", "tool_calls": [whole, whole] } }] });
    let stream_of = format!("data: {line}\n\ndata: [DONE]\n\n");
    let json_of = json!({ "choices": [{ "message": { "content": null, "tool_calls": [whole, whole] } }] }).to_string();
    for answer in [Answer::Stream(stream_of, 50), Answer::Json(json_of)] {
        let server = with_tools(vec![answer, Answer::Stream(stream("Free."), 50)]);
        let mut phone = greeted(&server);
        let (first, name, arguments) = tool(&mut phone);
        assert_eq!((&*name, arguments), ("look", json!({ "day": "Monday" })));
        let ids: Vec<String> = ["call00001", "call00002"].map(str::to_owned).into();
        assert_eq!(first, ids[0]);
        for id in ids {
            phone.command(Command::ToolResult { id, output: json!(true) });
        }
        phone.until_played(MINUTE);
        assert_eq!(phone.said(), ["Free."]);
        server.judged();
    }
}

#[test]
fn goodbye_is_said_before_the_call_ends_and_connecting_before_a_person_comes() {
    for (name, arguments) in [("end_call", "{\"reason\":\"done\"}"), ("transfer_call", "{\"destination\":\"+1900\"}")] {
        let long = "It was a pleasure to talk to you, and I hope that we shall meet soon. Goodbye!";
        let mut deltas = vec![call(0, "a", name, arguments)];
        deltas.insert(0, json!({ "content": long }));
        let server = with_tools(vec![Answer::Stream(chunks(&deltas.into()), 400), Answer::Stream(stream("Back."), 50)]);
        let mut phone = greeted(&server);
        let (id, called, arguments) = tool(&mut phone);
        assert_eq!(called, name);
        let order: Vec<bool> = phone
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::Audio(_)) || is_tool(event))
            .map(|(_, event)| is_tool(event))
            .collect();
        assert_eq!(order, [false, false, true], "{:?}", phone.words());
        if name == "transfer_call" {
            assert_eq!(arguments["destination"], "+4930123", "whom is not the endpoint's choice");
        }
        phone.command(Command::ToolResult { id, output: json!({ "ok": true }) });
        phone.run(Duration::from_secs(3));
        assert!(phone.events.iter().any(|(_, event)| *event == Event::TurnEnd));
        assert_eq!(server.requests.lock().expect("requests").len(), 1, "nothing is left to be said");
        if name == "transfer_call" {
            phone.command(Command::TransferBegun);
            phone.command(Command::TransferFailed { outcome: "busy".into() });
            phone.until(MINUTE, |event| matches!(event, Event::AgentText { text, .. } if text == "Back."));
        } else {
            // Nobody listens any more.
            phone.command(Command::Text("Wait!".into()));
            phone.run(Duration::from_secs(1));
            assert_eq!(server.requests.lock().expect("requests").len(), 1);
        }
        server.judged();
    }
}

#[test]
fn a_call_that_may_not_end_goes_on() {
    let asks = chunks(&json!([call(0, "a", "end_call", "{}")]));
    let server = with_tools(vec![Answer::Stream(asks, 400), Answer::Stream(stream("One more thing."), 50)]);
    let mut phone = greeted(&server);
    let (id, ..) = tool(&mut phone);
    phone.command(Command::ToolResult { id, output: json!({ "error": "ask for the name first" }) });
    phone.until_played(MINUTE);
    assert_eq!(phone.said(), ["One more thing."]);
    server.judged();
}

#[test]
fn an_interruption_cancels_the_tool_and_the_endpoint_is_told_so() {
    let speech = voice::with_model();
    let asks = chunks(&json!([
        { "content": "One moment please, while I look into the calendar for you. " },
        call(0, "a", "look", "{}"),
    ]));
    let server = with_tools(vec![Answer::Stream(asks, 400), Answer::Stream(stream("Of course."), 50)]);
    let mut phone = server.phone_with(&speech, agent());
    phone.command(Command::Greet);
    tool(&mut phone);
    phone.speak(&voice::telephone(&voice::say(&speech, "Stop, please stop talking.", Voice::Kal)));
    let cancelled = phone.until(MINUTE, |event| matches!(event, Event::ToolCancel { .. }));
    assert_eq!(cancelled, Event::ToolCancel { id: "a".into() });
    phone.until_played(MINUTE);
    assert_eq!(phone.said().last().map(String::as_str), Some("Of course."));
    let said = messages(&server, 1);
    let heard = said[1]["content"].as_str().unwrap_or_default();
    assert!(!heard.contains("calendar"), "{heard}");
    assert_eq!((&said[2]["role"], &said[2]["tool_call_id"]), (&json!("tool"), &json!("a")));
    assert!(said[2]["content"].as_str().is_some_and(|text| text.contains("cancelled")), "{said:?}");
    assert_eq!(said[3]["role"], "user");
    // It was carried out all the same.
    phone.command(Command::ToolResult { id: "a".into(), output: json!({ "free": true }) });
    phone.command(Command::Text("And now?".into()));
    phone.until(MINUTE, |event| *event == Event::TurnEnd);
    assert_eq!(messages(&server, 2)[2]["content"], "{\"free\":true}");
    server.judged();
}

#[test]
fn an_endpoint_without_tools_is_found_out_and_asked_in_the_other_manner() {
    for (status, words) in [
        (400, r#"{"error":{"message":"registry/gemma:2b does not support tools"}}"#),
        (400, r#"{"message":"\"auto\" tool choice requires --enable-auto-tool-choice"}"#),
        (500, r#"{"error":{"code":500,"message":"tools param requires --jinja flag"}}"#),
    ] {
        let server =
            with_tools(vec![Answer::Refusal(status, words.into()), Answer::Stream(stream("Goodbye. [hangup]"), 50)]);
        let mut phone = greeted(&server);
        let end = phone.until(MINUTE, crate::common::is_hang_up);
        assert_eq!((end, phone.said()), (Event::HangUp { outcome: "finished".into() }, vec!["Goodbye.".to_owned()]));
        let lost = |event: &Event| matches!(event, Event::Error { message, .. } if message.contains("no tools"));
        assert!(phone.events.iter().any(|(_, event)| lost(event)), "the agent's own cannot be used");
        let [first, second] = [0, 1].map(|index| server.request(index).2);
        assert!(first["tools"].is_array() && second.get("tools").is_none());
        assert!(second["messages"][0]["content"].as_str().is_some_and(|system| system.contains("[hangup]")));
        server.judged();
    }
    // A refusal of something else is one.
    let server = with_tools(vec![Answer::Refusal(400, "no such model".into()), Answer::Stream(stream("Hm."), 50)]);
    let mut phone = greeted(&server);
    phone.until(MINUTE, |event| matches!(event, Event::Error { message, .. } if message.contains("answered 400")));
}

#[test]
fn an_endpoint_that_calls_tools_for_ever_is_stopped() {
    let asks = chunks(&json!([call(0, "a", "look", "{}")]));
    let server = with_tools(vec![Answer::Stream(asks, 400)]);
    let mut phone = greeted(&server);
    for _ in 0..8 {
        let (id, ..) = tool(&mut phone);
        phone.command(Command::ToolResult { id, output: json!(true) });
    }
    phone.until(MINUTE, |event| matches!(event, Event::Error { message, .. } if message.contains("without end")));
    phone.until_played(MINUTE);
    assert!(phone.said().join(" ").contains("I am sorry"));
    assert_eq!(server.request(8).2["tool_choice"], "none");
    assert_eq!(server.requests.lock().expect("requests").len(), 9);
    let ids: std::collections::BTreeSet<String> =
        messages(&server, 8).iter().filter_map(|message| message["tool_call_id"].as_str().map(str::to_owned)).collect();
    assert_eq!(ids.len(), 8, "each has a name of its own");
    server.judged();
}
