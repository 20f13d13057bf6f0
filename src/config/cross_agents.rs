//! Numbers, agents and tools name each other.

use std::ops::Range;

use super::agent::{BOOK_APPOINTMENT, BUILT_IN_TOOLS, RESERVED_TOOLS, SEND_PAYMENT_LINK, tool_schema};
use super::cross::needs;
use super::load::Notes;
use super::tree::Entries;
use super::walk::nearest;

pub(super) fn check(notes: &mut Notes<'_, '_>) {
    let agents = names(notes, "agents");
    let tools = names(notes, "tools");
    for (at, (place, number)) in notes.tree.many("number").into_iter().enumerate() {
        self::number(notes, &format!("number[{}]", at + 1), &place, number, &agents);
    }
    for (at, (_, agent)) in notes.tree.many("agents").into_iter().enumerate() {
        let section = format!("agents[{}]", at + 1);
        needs(notes, &section, agent, "transfer_whisper", "transfer_to");
        let known: Vec<&str> = tools.iter().map(String::as_str).chain(BUILT_IN_TOOLS).collect();
        each(notes, &section, agent, "tools", |name| match name {
            name if known.contains(&name) => None,
            "end_call" | "send_dtmf" => Some("remove it: every agent has it".into()),
            "transfer_call" => Some("write `transfer_to = …` in its place".into()),
            "hand_off" => Some("write `hand_offs = […]` in its place".into()),
            name => Some(remedy(name, &known, "[[tools]]")),
        });
        let others: Vec<&str> =
            agents.iter().map(String::as_str).filter(|name| agent.text("name") != Some(name)).collect();
        each(notes, &section, agent, "hand_offs", |name| {
            (!others.contains(&name)).then(|| remedy(name, &others, "[[agents]]"))
        });
    }
    for (at, (place, tool)) in notes.tree.many("tools").into_iter().enumerate() {
        self::tool(notes, &format!("tools[{}]", at + 1), &place, tool);
    }
}

fn names(notes: &Notes<'_, '_>, section: &str) -> Vec<String> {
    let named = |(_, entries): (Range<usize>, Entries<'_, '_>)| entries.text("name").map(str::to_owned);
    notes.tree.many(section).into_iter().filter_map(named).collect()
}

fn remedy(name: &str, known: &[&str], section: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("declare it under {section}, or remove it"),
    }
}

/// A number has one who speaks: inline instructions, or an agent.
fn number(notes: &mut Notes<'_, '_>, section: &str, place: &Range<usize>, number: Entries<'_, '_>, agents: &[String]) {
    match (number.place("system_prompt"), number.place("agent")) {
        (None, None) => {
            let remedy = "add `system_prompt = …` (or `agent = …`, the name of one of the [[agents]])";
            notes.add(place, &format!("{section}.system_prompt"), "is missing", remedy);
        }
        (Some(_), Some(place)) => {
            notes.add(&place, &format!("{section}.agent"), "stands beside `system_prompt`", "remove one of the two");
        }
        (None, Some(place)) if number.text("mode") == Some("tts") => {
            let remedy = "write `system_prompt = …`, the text to speak";
            notes.add(&place, &format!("{section}.agent"), "means nothing in mode \"tts\"", remedy);
        }
        _ => {}
    }
    if let (Some(place), Some(name)) = (number.place("agent"), number.text("agent"))
        && !agents.iter().any(|known| known == name)
    {
        let known: Vec<&str> = agents.iter().map(String::as_str).collect();
        let remedy = remedy(name, &known, "[[agents]]");
        notes.add(&place, &format!("{section}.agent"), format!("{name:?} is no agent"), remedy);
    }
}

/// Each name in the list `key` is known, or `unknown` says what to do.
fn each(
    notes: &mut Notes<'_, '_>,
    section: &str,
    entries: Entries<'_, '_>,
    key: &str,
    unknown: impl Fn(&str) -> Option<String>,
) {
    let list = entries.value(key).and_then(|value| value.get_ref().as_array());
    for (at, item) in list.into_iter().flat_map(|list| list.iter()).enumerate() {
        if let Some(name) = item.get_ref().as_str()
            && let Some(remedy) = unknown(name)
        {
            let path = format!("{section}.{key}[{}]", at + 1);
            notes.add(&item.span(), &path, format!("{name:?} is not known here"), remedy);
        }
    }
}

fn tool(notes: &mut Notes<'_, '_>, section: &str, place: &Range<usize>, tool: Entries<'_, '_>) {
    let Some(name) = tool.text("name") else { return };
    let named = tool.place("name").unwrap_or_default();
    if RESERVED_TOOLS.contains(&name) || BUILT_IN_TOOLS.contains(&name) {
        let remedy = "choose another name: this tool is the box's own";
        return notes.add(&named, &format!("{section}.name"), format!("{name:?} is taken"), remedy);
    }
    let own = name == BOOK_APPOINTMENT || name == SEND_PAYMENT_LINK;
    for key in ["description", "parameters"] {
        match (tool.place(key), own) {
            (Some(place), true) => {
                let problem = format!("is fixed for {name}");
                notes.add(&place, &format!("{section}.{key}"), problem, format!("remove `{key}`"));
            }
            (None, false) if key == "description" => {
                let remedy = "add `description = …`: what it does and when the agent is to use it";
                notes.add(place, &format!("{section}.{key}"), "is missing", remedy);
            }
            _ => {}
        }
    }
    match (tool.place("url"), tool.place("link")) {
        (_, Some(place)) if name != SEND_PAYMENT_LINK => {
            let remedy = format!("remove it, or name the tool \"{SEND_PAYMENT_LINK}\"");
            notes.add(&place, &format!("{section}.link"), "means nothing for this tool", remedy);
        }
        (Some(_), Some(place)) => {
            notes.add(&place, &format!("{section}.link"), "stands beside `url`", "remove one of the two");
        }
        (None, None) => notes.add(place, &format!("{section}.url"), "is missing", "add `url = …`"),
        _ => {}
    }
    schema(notes, section, tool);
    // What is said in plain text can be read and changed on its way.
    let plain = tool.text("url").is_some_and(|url| url.starts_with("http://"));
    if let (Some(place), true, false) = (tool.place("url"), plain, tool.has("networks")) {
        let remedy =
            "write \"https://…\", or name the network of your own that it is in: `networks = [\"192.168.1.0/24\"]`";
        notes.add(&place, &format!("{section}.url"), "would send what callers say unprotected", remedy);
    }
}

/// The schema is one, and of an object.
fn schema(notes: &mut Notes<'_, '_>, section: &str, tool: Entries<'_, '_>) {
    let (Some(place), Some(parameters)) = (tool.place("parameters"), tool.section("parameters")) else { return };
    let key = format!("{section}.parameters");
    if parameters.text("type") != Some("object") {
        let remedy = "write { type = \"object\", properties = { … } }";
        return notes.add(&place, &key, "is no schema of an object", remedy);
    }
    let json = json(parameters.0);
    if let Err(problem) = tool_schema(&json) {
        let remedy = "correct it; see https://json-schema.org/learn";
        notes.add(&place, &key, format!("is no JSON schema ({problem})"), remedy);
    }
}

fn json(table: &toml::de::DeTable<'_>) -> serde_json::Value {
    let pairs = table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())));
    serde_json::Value::Object(pairs.collect())
}

fn plain(value: &toml::de::DeValue<'_>) -> serde_json::Value {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(_) => super::tree::whole(value).into(),
        DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().ok().into(),
        DeValue::Array(array) => array.iter().map(|item| plain(item.get_ref())).collect(),
        DeValue::Table(inner) => json(inner),
        DeValue::Datetime(_) => serde_json::Value::Null,
    }
}
