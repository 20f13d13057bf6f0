//! Tools of the agent, seen from the call: what is asked for, what runs, what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{AbortHandle, JoinSet};

use super::Actor;
use super::voice::direction_word;
use crate::ai::{Command, Party, Spoken};
use crate::call::message::{self, SendMessage};
use crate::call::record::Speaker;
use crate::call::tools::builtin::BuiltIn;
use crate::call::tools::digits::Digits;
use crate::call::tools::http::{self, About};
use crate::call::tools::{MOST_AT_ONCE, Part, TakenMessage, ToolOutcome, ToolUse, Verdict};
use crate::directory::Tool;

/// Uses that are kept in a record: an agent that asks again and again does not fill the disk.
const MOST_KEPT: usize = 200;
/// Messages of one caller.
const MOST_MESSAGES: usize = 10;
/// A tool that takes longer has its filler said.
const FILLER_AFTER: Duration = Duration::from_millis(1_500);
/// Octets of former turns that another agent is told; the oldest go first.
const MOST_TOLD: usize = 32 << 10;

/// Requests that run.
#[derive(Default)]
pub(in crate::call) struct Errands {
    running: JoinSet<Finished>,
    at_work: Vec<Work>,
    /// The call of the tool by which another agent was asked for, and that agent.
    hand_off: Option<(Work, Box<Part>)>,
    /// Keys that are collected.
    digits: Option<(Work, Digits)>,
}

struct Work {
    id: String,
    name: String,
    since: Instant,
    abort: Option<AbortHandle>,
    /// What is said then, if it still runs.
    filler: Option<(Instant, String)>,
}

pub(super) struct Finished {
    id: String,
    outcome: ToolOutcome,
    output: Value,
}

impl Errands {
    /// The next one that is through; never, when none runs.
    pub(super) async fn next(&mut self) -> Finished {
        loop {
            match self.running.join_next().await {
                Some(Ok(finished)) => return finished,
                // One that was cancelled.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let fillers = self.at_work.iter().filter_map(|work| work.filler.as_ref().map(|(at, _)| *at));
        fillers.chain(self.digits.as_ref().map(|(_, digits)| digits.deadline())).min()
    }

    fn take(&mut self, id: &str) -> Option<Work> {
        let at = self.at_work.iter().position(|work| work.id == id)?;
        Some(self.at_work.swap_remove(at))
    }
}

impl Actor {
    pub(super) async fn on_tool_called(&mut self, id: String, name: String, arguments: Value, after: u64) {
        let work = Work { id, name, since: self.room.clock.now(), abort: None, filler: None };
        match self.voice.toolbox.judge(&work.name, &arguments, after) {
            Verdict::Refused(outcome, output) => self.tool_is_through(work, outcome, output).await,
            Verdict::Request(_) if self.errands.at_work.len() >= MOST_AT_ONCE => {
                let output = json!({ "error": "too many tools at once; wait for the others" });
                self.tool_is_through(work, ToolOutcome::TooMany, output).await;
            }
            Verdict::Request(tool) => {
                let room = Arc::clone(&self.room);
                let headers = room.directory.tool_headers(&tool);
                let about = self.about(&work.id);
                let id = work.id.clone();
                let abort = self.errands.running.spawn(async move {
                    let (outcome, output) = http::carry_out(&room.outbound, &tool, headers, &about, &arguments).await;
                    Finished { id, outcome, output }
                });
                let filler = self.voice.toolbox.filler(&work.name);
                let filler = filler.map(|text| (work.since + FILLER_AFTER, text.to_owned()));
                self.errands.at_work.push(Work { abort: Some(abort), filler, ..work });
            }
            Verdict::Own(BuiltIn::HandOff, _) => self.hand_off(work, &arguments).await,
            Verdict::Own(BuiltIn::CollectDigits, _) => self.collect_digits(work, &arguments).await,
            Verdict::Own(BuiltIn::TakeMessage, _) => self.take_message(work, &arguments).await,
            Verdict::Own(BuiltIn::SendPaymentLink, Some(tool)) => self.send_link(work, &tool, &arguments).await,
            Verdict::Own(..) => {
                let output = json!({ "error": "this tool cannot be used" });
                self.tool_is_through(work, ToolOutcome::Failed, output).await;
            }
        }
    }

    pub(super) async fn on_tool_finished(&mut self, finished: Finished) {
        if let Some(work) = self.errands.take(&finished.id) {
            self.tool_is_through(work, finished.outcome, finished.output).await;
        }
    }

    /// The agent waits no longer for `id`.
    pub(super) async fn on_tool_cancelled(&mut self, id: &str) {
        if let Some(work) = self.errands.take(id) {
            self.drop_tool(&work);
            self.note(Vec::new()).await;
        } else if let Some((work, _)) = self.errands.digits.take_if(|(work, _)| work.id == id) {
            self.voice.keep_keys(false);
            self.drop_tool(&work);
        }
    }

    /// Whatever runs is dropped.
    pub(super) fn drop_tools(&mut self) {
        for work in std::mem::take(&mut self.errands.at_work) {
            self.drop_tool(&work);
        }
        if let Some((work, _)) = self.errands.digits.take() {
            self.voice.keep_keys(false);
            self.drop_tool(&work);
        }
        if let Some((work, _)) = self.errands.hand_off.take() {
            self.drop_tool(&work);
        }
    }

    fn drop_tool(&mut self, work: &Work) {
        if let Some(abort) = &work.abort {
            abort.abort();
        }
        self.keep_use(work, ToolOutcome::Cancelled);
    }

    async fn tool_is_through(&mut self, work: Work, outcome: ToolOutcome, output: Value) {
        self.keep_use(&work, outcome);
        self.voice.tell(Command::ToolResult { id: work.id, output });
        self.note(Vec::new()).await;
    }

    fn keep_use(&mut self, work: &Work, outcome: ToolOutcome) {
        let took = self.room.clock.now().saturating_duration_since(work.since);
        metrics::counter!("trunkline_tools_total", "outcome" => outcome.word()).increment(1);
        if self.call.tools.len() < MOST_KEPT {
            let (name, at) = (work.name.chars().take(64).collect(), self.utc(work.since));
            let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.call.tools.push(ToolUse { name, at, took_ms, outcome });
        }
    }

    /// What the customer's system may know.
    fn about(&self, id: &str) -> About {
        let call = &self.call;
        About {
            call: call.id.to_string(),
            id: format!("{}:{id}", call.id),
            agent: call.agent.clone().unwrap_or_default(),
            direction: direction_word(call.direction),
            phone: call.phone.clone(),
            number: call.number.clone(),
        }
    }

    /// What is due of tools.
    pub(super) async fn tools_on_time(&mut self) {
        let now = self.room.clock.now();
        let mut due = Vec::new();
        for work in &mut self.errands.at_work {
            due.extend(work.filler.take_if(|(at, _)| *at <= now).map(|(_, text)| (work.id.clone(), text)));
        }
        for (id, text) in due {
            self.voice.fill(&self.room, &self.call, id, text);
        }
        if let Some((work, digits)) = &mut self.errands.digits
            && let Some(output) = digits.tick(now)
        {
            tracing::debug!(call = %self.call.id, tool = work.name, "the caller pressed no more keys");
            self.digits_are_there(output).await;
        }
    }

    async fn collect_digits(&mut self, work: Work, arguments: &Value) {
        if self.errands.digits.is_some() {
            let output = json!({ "error": "keys are being collected already" });
            return self.tool_is_through(work, ToolOutcome::TooMany, output).await;
        }
        self.voice.keep_keys(true);
        self.errands.digits = Some((work, Digits::new(arguments, self.room.clock.now())));
    }

    /// The caller pressed a key.
    pub(super) async fn tool_hears_key(&mut self, key: char) {
        let now = self.room.clock.now();
        if let Some((_, digits)) = &mut self.errands.digits
            && let Some(output) = digits.key(key, now)
        {
            self.digits_are_there(output).await;
        }
    }

    /// What the agent said was heard.
    pub(super) fn tool_hears_agent(&mut self) {
        let now = self.room.clock.now();
        if let Some((_, digits)) = &mut self.errands.digits {
            digits.asked(now);
        }
    }

    async fn digits_are_there(&mut self, output: Value) {
        let Some((work, _)) = self.errands.digits.take() else { return };
        self.voice.keep_keys(false);
        self.tool_is_through(work, ToolOutcome::Answered, output).await;
    }

    async fn take_message(&mut self, work: Work, arguments: &Value) {
        if self.call.messages.len() >= MOST_MESSAGES {
            let output = json!({ "error": "no more messages can be taken in this call" });
            return self.tool_is_through(work, ToolOutcome::TooMany, output).await;
        }
        let text =
            |name: &str| arguments[name].as_str().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        self.call.messages.push(TakenMessage {
            at: self.room.clock.utc(),
            text: text("text").unwrap_or_default(),
            call_back: text("call_back").unwrap_or_else(|| self.call.phone.clone()),
            name: text("name").unwrap_or_default(),
        });
        self.tool_is_through(work, ToolOutcome::Answered, json!({ "result": "kept" })).await;
    }

    /// A link to pay by, as a text message within the dial policy.
    async fn send_link(&mut self, work: Work, tool: &Tool, arguments: &Value) {
        let text = |name: &str| arguments[name].as_str().unwrap_or_default();
        let mut link = tool.link.clone().unwrap_or_default();
        for name in ["reference", "amount", "currency"] {
            link = link.replace(&format!("{{{name}}}"), text(name));
        }
        let order = SendMessage {
            organization: self.call.organization,
            requested_by: format!("call {}", self.call.alias),
            trunk: None,
            from: None,
            to: if text("phone").is_empty() { self.call.phone.clone() } else { text("phone").to_owned() },
            text: link,
            idempotency: None,
        };
        let (outcome, output) = match message::send(&self.room, order).await {
            Ok(_) => (ToolOutcome::Answered, json!({ "result": "the text message is on its way" })),
            Err(error) => {
                tracing::info!(call = %self.call.id, %error, "a payment link was not sent");
                (ToolOutcome::Failed, json!({ "error": "the text message cannot be sent" }))
            }
        };
        self.tool_is_through(work, outcome, output).await;
    }

    /// Another agent is to have the call.
    async fn hand_off(&mut self, work: Work, arguments: &Value) {
        let name = arguments["agent"].as_str().unwrap_or_default();
        let part = match Part::of_agent(&self.room, self.call.organization, name) {
            _ if self.errands.hand_off.is_some() || self.is_being_transferred() => {
                Err("the call is being given to somebody already")
            }
            Ok(Some(part)) => Ok(part),
            Ok(None) => Err("there is no such colleague any more"),
            Err(error) => {
                tracing::warn!(call = %self.call.id, %error, "an agent cannot be read");
                Err("the colleague cannot be reached")
            }
        };
        let mut part = match part {
            Ok(part) => part,
            Err(words) => {
                return self.tool_is_through(work, ToolOutcome::Failed, json!({ "error": words })).await;
            }
        };
        if let Some(summary) = arguments["summary"].as_str().filter(|summary| !summary.trim().is_empty()) {
            part.instructions.push_str("\n\nThe colleague who had this call before you says: ");
            part.instructions.push_str(summary.trim());
        }
        let history = self.history();
        self.voice.succeed(&self.room, &self.call, &mut part, history);
        self.errands.hand_off = Some((work, Box::new(part)));
    }

    /// The conversation so far, the newest of it.
    fn history(&self) -> Vec<Spoken> {
        let turns = self.assembly.turns();
        let closed = turns.into_iter().map(|turn| {
            let by = if turn.speaker == Speaker::Agent { Party::Agent } else { Party::Caller };
            Spoken { by, text: turn.text }
        });
        // Turns that are not closed yet: what was understood so far, and what is being said.
        let heard = Spoken { by: Party::Caller, text: self.assembly.caller_text().to_owned() };
        let said = self.assembly.agent_text().map(|(text, _)| Spoken { by: Party::Agent, text });
        let mut all: Vec<Spoken> = closed.chain([heard]).chain(said).filter(|spoken| !spoken.text.is_empty()).collect();
        let mut room = MOST_TOLD;
        let kept = all.iter().rev().take_while(|spoken| {
            let fits = spoken.text.len() <= room;
            room = room.saturating_sub(spoken.text.len());
            fits
        });
        let kept = kept.count();
        all.split_off(all.len() - kept)
    }

    /// Whether the next agent has the call.
    pub(super) async fn on_hand_off(&mut self, succeeded: bool) {
        let Some((work, part)) = self.errands.hand_off.take() else { return };
        if !succeeded {
            let output = json!({ "error": "the colleague cannot be reached; the caller is still yours" });
            return self.tool_is_through(work, ToolOutcome::Failed, output).await;
        }
        // What the agent before was waiting for nobody waits for.
        self.drop_tools();
        self.keep_use(&work, ToolOutcome::Answered);
        self.call.agent.clone_from(&part.agent);
        self.voice.play(*part);
        self.note(Vec::new()).await;
    }
}
