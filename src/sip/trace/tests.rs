use super::*;
use crate::sip::transport::Link;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn trace(calls: usize, megabytes: usize) -> Trace {
    let config = TraceConfig { calls, megabytes, ..TraceConfig::default() };
    let clock = Clock::manual(UtcTime(1_700_000_000_000));
    Trace::new(&config, None, address("192.0.2.9:0").ip(), Ports::all(5060), clock)
}

fn message(call_id: &str, size: usize) -> Bytes {
    Bytes::from(format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\r\n{}", "x".repeat(size)))
}

fn hear(trace: &Trace, call_id: &str, size: usize, taken: bool) {
    trace.received(&message(call_id, size), Hop::udp(address("192.0.2.1:5060")), taken);
}

#[test]
fn a_calls_messages_are_kept_with_those_that_came_before_it_was_opened() {
    let trace = trace(10, 1);
    hear(&trace, "a", 0, true);
    hear(&trace, "b", 0, true);
    trace.sent(&message("a", 1), Hop::new(Transport::Tcp, address("192.0.2.1:5060"), Link::Any));
    trace.open("a");
    trace.clock.advance(Duration::from_micros(1_500));
    hear(&trace, "a", 2, true);
    let kept = trace.messages(&["a"]);
    assert_eq!(kept.iter().map(|one| one.bytes.len()).collect::<Vec<_>>(), [54, 55, 56]);
    assert_eq!(kept[2].at - kept[0].at, 1_500);
    assert_eq!((trace.others().len(), trace.messages(&["b"]).len()), (1, 0));
}

#[test]
fn calls_and_bytes_are_bounded_and_the_oldest_goes() {
    let trace = trace(3, 1);
    for number in 0..10 {
        let id = format!("call{number}");
        trace.open(&id);
        hear(&trace, &id, 10, true);
    }
    let held: Vec<usize> = (0..10).filter(|number| !trace.messages(&[format!("call{number}")]).is_empty()).collect();
    assert_eq!(held, [7, 8, 9]);
    for _ in 0..40 {
        hear(&trace, "call9", 60_000, true);
    }
    assert!(trace.lock().bytes > 1 << 20, "one call alone may be larger");
    assert_eq!(trace.lock().calls.len(), 1);
    for _ in 0..MESSAGES {
        hear(&trace, "call9", 1, true);
    }
    assert_eq!(trace.messages(&["call9"]).len(), MESSAGES);
}

#[test]
fn what_belongs_to_no_call_is_bounded_and_pushes_no_call_out() {
    let trace = trace(3, 1);
    trace.open("a");
    hear(&trace, "a", 10, true);
    for number in 0..10_000 {
        hear(&trace, &format!("other{number}"), 100, true);
        hear(&trace, &format!("refused{number}"), 100, false);
    }
    assert_eq!(trace.messages(&["a"]).len(), 1);
    assert_eq!(trace.others().len(), OTHERS + REFUSED_A_SECOND as usize, "few of a flood are worth keeping");
}

#[test]
fn switched_off_it_keeps_nothing() {
    let trace = trace(0, 1);
    trace.open("a");
    hear(&trace, "a", 10, true);
    hear(&trace, "b", 10, false);
    assert!(trace.messages(&["a"]).is_empty() && trace.others().is_empty());
}
