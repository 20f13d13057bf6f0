#![allow(clippy::disallowed_methods)]

use proptest::prelude::*;

use super::*;
use crate::sip::message::Uri;
use crate::sip::transport::Transport;

const LONGEST: u64 = 300;

fn hop(port: u16) -> Hop {
    Hop { transport: Transport::Udp, address: ([192, 0, 2, 1], port).into(), link: Link::Any }
}

fn connection(port: u16) -> Hop {
    Hop { transport: Transport::Tcp, link: Link::Connection(u64::from(port)), ..hop(port) }
}

fn uri(text: &str) -> SipUri {
    Uri::parse(text).ok().and_then(|uri| uri.sip().cloned()).expect("a SIP URI")
}

fn wish(contact: &str, seconds: Option<u64>) -> Wish {
    Wish { contact: uri(contact), expires: seconds.map(Duration::from_secs), priority: 1000, flow: None }
}

fn flow(wish: Wish, instance: &str, number: u32) -> Wish {
    Wish { flow: Some(Flow { instance: instance.into(), number }), ..wish }
}

fn asks(sequence: u32, wanted: Wanted) -> Registration {
    Registration { call_id: "phone".into(), sequence, wanted, path: Vec::new(), outbound: false }
}

fn contacts(sequence: u32, wishes: &[Wish]) -> Registration {
    asks(sequence, Wanted::Contacts(wishes.to_vec()))
}

struct Stage {
    location: Location,
    now: Instant,
}

impl Stage {
    fn new() -> Stage {
        let policy = Policy { longest: Duration::from_secs(LONGEST), probe_every: Some(Duration::from_secs(30)) };
        Stage { location: Location::new(policy), now: Instant::now() }
    }

    fn register(&mut self, wanted: &Registration) -> Result<(), u16> {
        self.location.register("10", wanted, hop(5060), self.now).map_err(|refusal| refusal.code)
    }

    fn at(&self, seconds: u64) -> Instant {
        self.now + Duration::from_secs(seconds)
    }

    fn listed(&self) -> Vec<String> {
        self.location.of("10", self.now).iter().map(|binding| binding.contact.to_string()).collect()
    }

    fn after(mut self, seconds: u64) -> Stage {
        self.now = self.at(seconds);
        self
    }
}

const A: &str = "sip:10@192.0.2.1";
const B: &str = "sip:10@192.0.2.2";

#[test]
fn new_known_and_removed_contacts_are_told_apart() {
    let mut stage = Stage::new();
    assert_eq!(stage.register(&asks(1, Wanted::List)), Ok(()));
    assert!(stage.listed().is_empty());
    assert_eq!(stage.register(&contacts(2, &[wish(A, None)])), Ok(()));
    assert_eq!(stage.register(&contacts(3, &[wish(B, Some(3_600))])), Ok(()));
    assert_eq!(stage.listed(), [A, B]);
    let ends: Vec<_> = stage.location.of("10", stage.now).iter().map(|binding| binding.expires_at).collect();
    assert_eq!(ends, [stage.at(LONGEST), stage.at(LONGEST)], "no longer than configured");
    // Refreshed: one binding still, later end.
    let mut stage = stage.after(100);
    assert_eq!(stage.register(&contacts(4, &[wish(A, Some(60))])), Ok(()));
    assert_eq!(stage.listed().len(), 2);
    assert_eq!(stage.location.of("10", stage.now)[1].expires_at, stage.at(60));
    assert_eq!(stage.register(&contacts(5, &[wish(A, Some(0))])), Ok(()));
    assert_eq!(stage.listed(), [B]);
    assert_eq!(stage.register(&asks(6, Wanted::RemoveAll)), Ok(()));
    assert!(stage.location.is_empty());
}

#[test]
fn a_request_that_was_overtaken_changes_nothing() {
    let mut stage = Stage::new();
    stage.register(&contacts(5, &[wish(A, None)])).expect("taken");
    for late in
        [contacts(5, &[wish(A, Some(0))]), contacts(4, &[wish(B, None), wish(A, None)]), asks(5, Wanted::RemoveAll)]
    {
        assert_eq!(stage.register(&late), Err(400), "{late:?}");
        assert_eq!(stage.listed(), [A]);
    }
    // A phone that was restarted has a new Call-ID and begins to count anew.
    let restarted = Registration { call_id: "restarted".into(), ..contacts(1, &[wish(A, Some(0))]) };
    assert_eq!(stage.register(&restarted), Ok(()));
    assert!(stage.location.is_empty());
}

#[test]
fn too_short_a_time_refuses_the_whole_request() {
    let mut stage = Stage::new();
    let refusal = stage.location.register("10", &contacts(1, &[wish(A, None), wish(B, Some(59))]), hop(1), stage.now);
    assert_eq!(refusal, Err(Refusal { code: 423, reason: "Interval Too Brief", shortest: Some(SHORTEST) }));
    assert!(stage.location.is_empty());
    assert_eq!(stage.register(&contacts(1, &[wish(A, Some(60))])), Ok(()));
}

#[test]
fn a_flow_of_a_device_is_known_by_instance_and_number_and_a_device_rings_once() {
    let mut stage = Stage::new();
    stage.register(&contacts(1, &[flow(wish(A, None), "<urn:1>", 1)])).expect("taken");
    stage.register(&contacts(2, &[flow(wish(B, None), "<urn:1>", 1)])).expect("taken");
    assert_eq!(stage.listed(), [B], "the device moved");
    let mut stage = stage.after(1);
    stage
        .register(&contacts(3, &[flow(wish(A, None), "<urn:1>", 2), flow(wish(A, None), "<urn:2>", 1)]))
        .expect("taken");
    assert_eq!(stage.listed().len(), 3);
    let targets = stage.location.targets("10", stage.now);
    assert_eq!(targets.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
    assert!(targets[0].iter().all(|binding| binding.contact == uri(A)), "the youngest flow of each");
}

#[test]
fn higher_q_rings_first_and_equal_q_together() {
    let mut stage = Stage::new();
    let low = Wish { priority: 100, ..wish("sip:10@192.0.2.3", None) };
    stage.register(&contacts(1, &[low, wish(A, None), wish(B, None)])).expect("taken");
    let groups: Vec<usize> = stage.location.targets("10", stage.now).iter().map(Vec::len).collect();
    assert_eq!(groups, [2, 1]);
    assert!(stage.location.targets("11", stage.now).is_empty());
}

#[test]
fn a_binding_ends_with_its_time() {
    let mut stage = Stage::new();
    stage.register(&contacts(1, &[wish(A, Some(60))])).expect("taken");
    assert_eq!(stage.location.of("10", stage.at(59)).len(), 1);
    assert!(stage.location.of("10", stage.at(60)).is_empty());
    stage.location.expire(stage.at(60));
    assert!(stage.location.is_empty() && stage.location.wake_at().is_none());
}

#[test]
fn beyond_the_bound_the_one_that_ends_first_gives_way() {
    let mut stage = Stage::new();
    for number in 0..20_u32 {
        let time = if number == 7 { 60 } else { 100 + u64::from(number) };
        stage.register(&contacts(number + 1, &[wish(&format!("sip:10@192.0.2.{number}"), Some(time))])).expect("taken");
        assert!(stage.location.len() <= MAX_CONTACTS);
    }
    assert_eq!(stage.location.len(), MAX_CONTACTS);
    assert!(stage.listed().contains(&"sip:10@192.0.2.19".to_owned()));
    assert!(!stage.listed().contains(&"sip:10@192.0.2.7".to_owned()));
}

#[test]
fn silence_ends_a_binding_at_the_second_probe_and_an_answer_keeps_it() {
    let mut stage = Stage::new();
    stage.register(&contacts(1, &[wish(A, None)])).expect("taken");
    assert_eq!(stage.location.wake_at(), Some(stage.at(30)));
    assert!(stage.location.due_probes(stage.at(29)).is_empty());
    let due = stage.location.due_probes(stage.at(30));
    assert_eq!(due.len(), 1);
    assert!(stage.location.due_probes(stage.at(31)).is_empty(), "one at a time");
    stage.location.probed(due[0].id, Probed::Silent, stage.at(62));
    stage.location.due_probes(stage.at(92));
    stage.location.probed(due[0].id, Probed::Alive, stage.at(93));
    for (asked, answer) in [(123, 155), (185, 217)] {
        assert_eq!(stage.location.due_probes(stage.at(asked)).len(), 1, "{asked}");
        stage.location.probed(due[0].id, Probed::Silent, stage.at(answer));
    }
    assert!(stage.location.is_empty());
}

#[test]
fn a_lost_connection_ends_what_was_registered_over_it() {
    let mut stage = Stage::new();
    stage.location.register("10", &contacts(1, &[wish(A, None)]), connection(9), stage.now).expect("taken");
    stage.register(&contacts(2, &[wish(B, None)])).expect("taken");
    for binding in stage.location.due_probes(stage.at(30)) {
        stage.location.probed(binding.id, Probed::Refused, stage.at(30));
    }
    assert_eq!(stage.listed(), [B], "a datagram may be refused for a moment");
}

#[test]
fn the_probe_of_a_binding_that_was_replaced_says_nothing_of_the_new_one() {
    let mut stage = Stage::new();
    stage.register(&contacts(1, &[wish(A, None)])).expect("taken");
    let old = stage.location.due_probes(stage.at(30))[0].id;
    stage.register(&contacts(2, &[wish(A, None)])).expect("taken");
    for _ in 0..5 {
        stage.location.probed(old, Probed::Silent, stage.at(40));
    }
    assert_eq!(stage.listed(), [A]);
}

#[test]
fn a_list_entry_says_what_was_granted() {
    let mut stage = Stage::new();
    let wanted = flow(Wish { priority: 500, ..wish("sip:10@192.0.2.1;transport=tcp", Some(120)) }, "<urn:1>", 1);
    stage.register(&contacts(1, &[wanted])).expect("taken");
    let listed = stage.location.of("10", stage.now)[0].listed(stage.at(20));
    assert_eq!(listed, "<sip:10@192.0.2.1;transport=tcp>;expires=100;q=0.500;+sip.instance=\"<urn:1>\";reg-id=1");
}

proptest! {
    /// Whatever phones send in whatever order: the bound holds, what is refused changes nothing, nothing outlives its
    /// time, and no contact stands twice.
    #[test]
    fn no_sequence_breaks_the_table(steps in proptest::collection::vec((0u8..4, 0u32..8, 0u8..14, 0u64..400, 0u64..90), 1..120)) {
        let mut stage = Stage::new();
        for (kind, sequence, host, time, pause) in steps {
            let contact = format!("sip:10@192.0.2.{host}");
            let wanted = match kind {
                0 => asks(sequence, Wanted::RemoveAll),
                1 => contacts(sequence, &[wish(&contact, Some(time)), wish(&contact, None)]),
                2 => contacts(sequence, &[flow(wish(&contact, Some(time)), "<urn:1>", sequence + 1)]),
                _ => contacts(sequence, &[wish(&contact, Some(time))]),
            };
            let wanted = Registration { call_id: format!("c{}", host % 3), ..wanted };
            let before = stage.listed();
            if stage.register(&wanted).is_err() {
                prop_assert_eq!(&before, &stage.listed());
            }
            prop_assert!(stage.location.len() <= MAX_CONTACTS);
            for binding in stage.location.of("10", stage.now) {
                prop_assert!(binding.expires_at <= stage.at(LONGEST));
            }
            let plain: Vec<_> = stage.location.of("10", stage.now).into_iter().filter(|one| one.flow.is_none()).collect();
            for (at, one) in plain.iter().enumerate() {
                prop_assert!(!plain.iter().skip(at + 1).any(|other| other.contact.is_equivalent(&one.contact)));
            }
            for binding in stage.location.due_probes(stage.now) {
                stage.location.probed(binding.id, Probed::Silent, stage.now);
            }
            if let Some(wake) = stage.location.wake_at() {
                prop_assert!(wake > stage.now);
            }
            stage = stage.after(pause);
        }
        stage.location.expire(stage.at(LONGEST));
        prop_assert!(stage.location.is_empty());
    }
}
