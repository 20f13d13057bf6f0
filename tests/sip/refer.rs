//! REFER and Replaces at the endpoint: SIPp as referrer and as referee, and INVITEs written by hand.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::sipp::{Lab, Sipp, answered, call};
use crate::support::*;
use crate::way::{Way, each_way};
use crate::world::{Link, World};
use std::time::Duration;
use tokio::sync::mpsc;
use trunkline::sip::endpoint::{CallEvent, EndedBy, ReferNews};

const T1: u64 = 50;

/// The next news of our REFER.
async fn news(events: &mut mpsc::Receiver<CallEvent>) -> ReferNews {
    loop {
        if let CallEvent::Refer(news) = next(events).await {
            return news;
        }
    }
}

/// Calls a SIPp that plays `scenario`, refers it, and expects `wanted`; then hangs up.
async fn refer(way: Way, scenario: &'static str, wanted: &[ReferNews]) {
    let (_endpoint, sipp, control, mut events) = call(way, scenario, "").await;
    answered(&mut events).await;
    control.refer("sip:person@192.0.2.9".into(), Some("<sip:us@192.0.2.1>".into()));
    for wanted in wanted {
        assert_eq!(news(&mut events).await, *wanted, "{scenario}");
    }
    control.hang_up();
    assert_eq!(next(&mut events).await, CallEvent::Ended { by: EndedBy::Us });
    sipp.succeeded().await;
}

async fn refers_and_hears_that_the_person_was_reached(way: Way) {
    refer(way, "uas_refer_200", &[ReferNews::Accepted, ReferNews::Progress(100), ReferNews::Done(200)]).await;
}

async fn refers_and_hears_that_the_person_was_not_reached(way: Way) {
    refer(way, "uas_refer_503", &[ReferNews::Accepted, ReferNews::Progress(100), ReferNews::Done(503)]).await;
}

async fn takes_a_refusal_and_sends_nothing_that_the_peer_does_not_take(way: Way) {
    refer(way, "uas_refer_403", &[ReferNews::Refused(403)]).await;
    refer(way, "uas_refer_405", &[ReferNews::Refused(405)]).await;
}

async fn expects_no_news_without_a_subscription(way: Way) {
    refer(way, "uas_refer_nosub", &[ReferNews::Accepted, ReferNews::Unknown]).await;
}

async fn is_referred_and_tells_what_came_of_it(way: Way) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, "uac_refer_allowed", &lab).await;
    let mut call = incoming(&mut lab.calls).await;
    let answer = answer_to(call.offer.as_ref().expect("an offer"), 5000);
    call.control.answer(answer);
    let referral = loop {
        if let CallEvent::Referred(referral) = next(&mut call.events).await {
            break referral;
        }
    };
    assert_eq!(referral.target.uri.to_string(), "sip:dave@192.0.2.9");
    assert_eq!(referral.target.replaces.map(|replaces| replaces.call_id), Some("12345@192.0.2.3".into()));
    assert_eq!(referral.referred_by.as_deref(), Some("<sip:sipp@192.0.2.2>"));
    call.control.answer_refer(202);
    call.control.report_refer(180);
    call.control.report_refer(200);
    // Whoever transfers leaves when it hears of the end.
    assert_eq!(next(&mut call.events).await, CallEvent::Ended { by: EndedBy::Peer });
    sipp.succeeded().await;
}

async fn refuses_a_refer_without_harm(way: Way) {
    let mut lab = Lab::open(way).await;
    let sipp = Sipp::calling(way, "uac_refer_refused", &lab).await;
    let mut call = incoming(&mut lab.calls).await;
    call.control.answer(answer_to(call.offer.as_ref().expect("an offer"), 5000));
    loop {
        match next(&mut call.events).await {
            CallEvent::Referred(_) => call.control.answer_refer(403),
            CallEvent::Ended { by } => {
                assert_eq!(by, EndedBy::Peer);
                break;
            }
            _ => {}
        }
    }
    sipp.succeeded().await;
}

#[tokio::test]
async fn outside_a_call_nobody_sends_us_calling() {
    let (endpoint, _calls) = open_endpoint(T1).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let refer = peer.request("REFER", "a", "", "Refer-To: <sip:person@192.0.2.9>\r\n", "");
    assert_eq!(status(&peer.ask(&refer).await), 403);
    let notify = peer.request("NOTIFY", "b", "", "Event: refer\r\nSubscription-State: active\r\n", "");
    assert_eq!(status(&peer.ask(&notify).await), 481);
}

#[tokio::test]
async fn an_invite_with_replaces_is_answered_by_the_table() {
    let nowhere = "127.0.0.1:9".parse().expect("address");
    let trunks = [
        trunk("lab", nowhere, "sources = [\"127.0.0.1/32\"]"),
        trunk("other", "127.0.0.2:9".parse().expect("address"), ""),
    ];
    let (endpoint, mut calls) = endpoint(T1, &trunks, &[]).await;
    let peer = Peer::new(endpoint.local_address()).await;
    let answer = async {
        peer.send(peer.invite("first", "").as_bytes()).await;
        let call = incoming(&mut calls).await;
        call.control.answer(answer_to(call.offer.as_ref().expect("an offer"), 5000));
        (call, peer.final_response().await)
    };
    let (call, answer) = answer.await;
    let tag = tag_of(&answer);
    peer.send(peer.request("ACK", "ack", &tag, "", "").as_bytes()).await;
    let id = header(&answer, "Call-ID");
    let ours = format!("{id};to-tag={tag};from-tag=peer1");
    for (at, (replaces, code)) in [
        ("Replaces: nonsense\r\n".to_owned(), 400),
        (format!("Replaces: {ours}\r\nReplaces: {ours}\r\n"), 400),
        (format!("Replaces: {id};to-tag=no;from-tag=peer1\r\n"), 481),
        (format!("Replaces: {id};to-tag={tag};from-tag=no\r\n"), 481),
        (format!("Replaces: other;to-tag={tag};from-tag=peer1\r\n"), 481),
        (format!("Replaces: {ours};early-only\r\n"), 486),
    ]
    .into_iter()
    .enumerate()
    {
        let stranger = Peer::new(endpoint.local_address()).await;
        let refused = stranger.ask(&stranger.invite(&format!("b{at}"), &replaces)).await;
        assert_eq!(status(&refused), code, "{replaces}");
    }
    let good = Peer::new(endpoint.local_address()).await;
    let require = format!("Require: replaces\r\nReplaces: {ours}\r\n");
    good.send(good.invite("good", &require).as_bytes()).await;
    let taken = incoming(&mut calls).await;
    assert_eq!(taken.replaces, Some(call.control.key()));
    taken.control.reject(486);
    assert_eq!(status(&good.final_response().await), 486);
    // Over is over.
    call.control.hang_up();
    let late = Peer::new(endpoint.local_address()).await;
    let refused = late.ask(&late.invite("late", &format!("Replaces: {ours}\r\n"))).await;
    assert_eq!(status(&refused), 603);
}

/// REFERs of both sides, decisions, reports and hang-ups cross on bad links.
#[test]
fn refers_and_hang_ups_cross_and_nothing_is_left_behind() {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    use trunkline::sip::event::Command;
    let (mut asked, mut told, mut accepted) = (0, 0, 0);
    for seed in 0..400 {
        let mut random = SmallRng::seed_from_u64(seed);
        let link = Link {
            lost: [0, 10, 50, 200][random.random_range(0..4)],
            doubled: [0, 20, 100][random.random_range(0..3)],
            delay: [(0, 0), (5, 30), (0, 1_500)][random.random_range(0..3)],
        };
        let mut world = World::new(seed, link);
        world.dial(1, Duration::from_secs(40));
        world.run(Duration::from_secs(30));
        let ends: Vec<_> = world.legs.keys().copied().collect();
        for (side, call) in ends {
            for _ in 0..random.random_range(0..4) {
                let mut at = || Duration::from_millis(random.random_range(0..90_000));
                let to = "sip:person@192.0.2.9".to_owned();
                world.later(at(), side, call, Command::Refer { to, referred_by: None });
                world.later(at(), side, call, Command::AnswerRefer(202));
                world.later(at(), side, call, Command::ReportRefer(180));
                world.later(at(), side, call, Command::ReportRefer(200));
                world.later(at(), side, call, Command::AnswerRefer(603));
                if random.random_ratio(1, 3) {
                    let after = Duration::from_millis(random.random_range(0..120_000));
                    world.later(after, side, call, Command::HangUp);
                }
            }
        }
        world.run(Duration::from_secs(400));
        for ((side, call), leg) in &world.legs {
            let news = leg.events.iter().filter_map(|event| match event {
                CallEvent::Refer(news) => Some(*news),
                _ => None,
            });
            let news: Vec<ReferNews> = news.collect();
            let last = |news: &ReferNews| !matches!(news, ReferNews::Accepted | ReferNews::Progress(_));
            told += news.iter().filter(|news| last(news)).count();
            accepted += news.iter().filter(|news| **news == ReferNews::Accepted).count();
            asked += leg.events.iter().filter(|event| matches!(event, CallEvent::Referred(_))).count();
            // What was accepted came to an end, unless the call did first.
            let over = leg.events.last().is_some_and(CallEvent::is_last);
            let begun = news.iter().rposition(|news| *news == ReferNews::Accepted);
            let ended = begun.is_none_or(|begun| news[begun..].iter().any(last));
            assert!(over || ended, "seed {seed}, {call:?} of side {side}: {news:?}");
        }
        world.hang_up_all();
        world.run(Duration::from_secs(600));
        if let Err(problem) = world.settled() {
            panic!("seed {seed}, {:?}: {problem}", world.link);
        }
    }
    println!("refer: {asked} asked, {accepted} accepted, {told} ended");
    assert!(asked > 150 && accepted > 25 && told > 150, "{asked} {accepted} {told}");
}

each_way!(
    refers_and_hears_that_the_person_was_reached,
    refers_and_hears_that_the_person_was_not_reached,
    takes_a_refusal_and_sends_nothing_that_the_peer_does_not_take,
    expects_no_news_without_a_subscription,
    is_referred_and_tells_what_came_of_it,
    refuses_a_refer_without_harm,
);
