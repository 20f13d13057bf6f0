//! The SIP messages of the callers.

use super::message::*;

fn way() -> Way {
    Way { target: ([127, 0, 0, 1], 5060).into(), own: ([127, 0, 0, 1], 5070).into(), called: "1000".into() }
}

#[test]
fn requests_and_answers_are_whole() {
    let invite = way().request("INVITE", "id1", 77, "", &offer(([127, 0, 0, 1], 4000).into()));
    assert_eq!((header(&invite, "call-id"), header(&invite, "CSeq")), (Some("id1"), Some("1 INVITE")));
    let (head, body) = invite.split_once("\r\n\r\n").expect("an end");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
    assert!(body.contains("telephone-event/8000"));
    let answer = way().agree(&invite, "");
    assert_eq!((code(&answer), code(&invite)), (Some(200), None));
    assert_eq!(header(&answer, "Via"), header(&invite, "Via"));
    assert_eq!(to_tag("SIP/2.0 200 OK\r\nTo: <sip:a@b>;tag=x;y=1\r\n\r\n"), ";tag=x");
    assert!(way().acknowledge_refusal("id1", 77, ";tag=x").contains("branch=z9hG4bKid1INVITE"));
}
