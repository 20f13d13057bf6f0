use super::*;

const HALF: Duration = Duration::from_millis(500);

/// A stage whose agent has half a second left to say, and one that is to follow it.
fn handing_over() -> (Stage, Script) {
    let mut stage = Stage::new(64);
    let hand_off = Event::ToolCall { id: "7".into(), name: "hand_off".into(), arguments: serde_json::json!({}) };
    stage.says([text(3, "Sales will help."), audio(3, 500), Event::AudioEnd { item: 3 }, hand_off]);
    let next = Script::default();
    stage.bridge.expect(Box::new(next.clone()), &mut stage.wire);
    assert!(stage.reports().iter().any(|report| matches!(report, Report::ToolCalled { id, .. } if id == "7")));
    (stage, next)
}

fn told(script: &Script) -> Vec<Command> {
    script.0.borrow_mut().commands.drain(..).collect()
}

fn tick(stage: &mut Stage) {
    stage.says([]);
}

#[test]
fn another_agent_has_the_call_once_the_last_words_have_gone_out() {
    let (mut stage, next) = handing_over();
    next.0.borrow_mut().events.push_back(Event::Ready);
    stage.play(HALF - FRAME);
    tick(&mut stage);
    assert!(told(&next).is_empty() && next.0.borrow().frames == 0, "the one at hand still speaks");
    stage.bridge.key('5', &mut stage.wire);
    assert_eq!(stage.commands(), [Command::Key('5')]);
    stage.play(FRAME * 2);
    tick(&mut stage);
    assert_eq!(told(&next), [Command::Greet]);
    assert_eq!(stage.commands(), [Command::Played { item: 3 }, Command::Stop]);
    let reports = stage.reports();
    assert!(reports.contains(&Report::Succeeded), "{reports:?}");

    // The caller is the next one's, and so are its items, whatever numbers they have.
    next.0.borrow_mut().events.extend([text(1, "Sales."), audio(1, 500), Event::AudioEnd { item: 1 }]);
    stage.says([audio(9, 500)]);
    stage.play(FRAME);
    assert!(next.0.borrow().frames > 0);
    stage.play(HALF);
    assert_eq!(told(&next), [Command::Played { item: 1 }]);
    let items: Vec<u64> = stage
        .reports()
        .into_iter()
        .filter_map(|report| match report {
            Report::AgentBegan { item, .. } | Report::ItemOver { item, .. } => Some(item),
            _ => None,
        })
        .collect();
    assert_eq!(items, [5, 5], "counted on from those of the one before, which is not heard any more");
}

#[test]
fn the_one_at_hand_keeps_the_call_while_the_next_one_is_not_there() {
    let (mut stage, next) = handing_over();
    stage.play(HALF * 4);
    tick(&mut stage);
    assert!(told(&next).is_empty());
    let frames = stage.script.0.borrow().frames;
    assert!(frames >= 90, "{frames}");
    next.0.borrow_mut().events.push_back(Event::Error { message: "refused".into(), fatal: true });
    tick(&mut stage);
    assert!(stage.reports().contains(&Report::NotSucceeded));
    stage.orders.try_send(Command::ToolResult { id: "7".into(), output: serde_json::json!({}) }.into()).expect("room");
    tick(&mut stage);
    assert!(stage.commands().iter().any(|command| matches!(command, Command::ToolResult { id, .. } if id == "7")));
}

#[test]
fn a_caller_who_interrupts_the_last_words_gets_the_next_agent_all_the_same() {
    let (mut stage, next) = handing_over();
    next.0.borrow_mut().events.push_back(Event::Ready);
    stage.play(HALF / 2);
    let at = stage.wire.now;
    stage.says([Event::SpeechStarted { at }]);
    stage.play(FRAME * 2);
    tick(&mut stage);
    assert_eq!(told(&next), [Command::Greet]);
}

#[test]
fn a_session_that_ends_while_the_next_one_comes_ends_no_call() {
    let (mut stage, next) = handing_over();
    stage.says([Event::Ended]);
    stage.play(HALF * 2);
    assert!(!stage.reports().iter().any(|report| matches!(report, Report::Done { .. })));
    next.0.borrow_mut().events.push_back(Event::Ready);
    tick(&mut stage);
    assert_eq!(told(&next), [Command::Greet]);

    let (mut stage, next) = handing_over();
    stage.says([Event::Ended]);
    next.0.borrow_mut().events.push_back(Event::Ended);
    stage.play(HALF * 2);
    tick(&mut stage);
    assert!(stage.reports().contains(&Report::Done { outcome: None }), "nobody is left");
}

#[test]
fn an_answer_goes_to_the_agent_that_asked_and_only_once() {
    let mut stage = Stage::new(64);
    let call = |id: &str| Event::ToolCall { id: id.into(), name: "look".into(), arguments: serde_json::json!({}) };
    let answer = |id: &str| Command::ToolResult { id: id.into(), output: serde_json::json!({ "result": 1 }) };
    stage.says([call("a"), call("b"), Event::ToolCancel { id: "b".into() }]);
    for id in ["a", "a", "b", "c"] {
        stage.orders.try_send(answer(id).into()).expect("room");
    }
    tick(&mut stage);
    assert_eq!(stage.commands(), [answer("a")]);
    let reports = stage.reports();
    assert!(reports.contains(&Report::ToolCancelled { id: "b".into() }), "{reports:?}");

    stage.says((0..40).map(|n| call(&format!("n{n}"))));
    let asked = stage.reports().iter().filter(|report| matches!(report, Report::ToolCalled { .. })).count();
    let refused = stage.commands().len();
    assert_eq!((asked, refused), (16, 24), "a service that asks for everything at once is bounded");
}
