//! Which addresses load goes to.

use super::loopback::*;

#[test]
fn loopback_and_nothing_else() {
    for good in ["127.0.0.1:5060", "127.8.9.1:1", "[::1]:5060", "[::ffff:127.0.0.1]:5060"] {
        assert!(only("x", good.parse().expect("an address")).is_ok(), "{good}");
    }
    for bad in ["0.0.0.0:5060", "10.0.0.1:5060", "128.0.0.1:5060", "[::]:1", "[2001:db8::1]:1", "127.0.0.1:0"] {
        let told = only("--sip", bad.parse().expect("an address")).expect_err(bad);
        assert!(told.starts_with("--sip ") && told.contains("refused"), "{told}");
    }
}

#[test]
fn sound_goes_where_its_own_line_says() {
    let with = |session: &str, own: &str| {
        format!("v=0\r\nc=IN IP4 {session}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n{own}a=ptime:20\r\n")
    };
    assert_eq!(media(&with("127.0.0.1", "")), Ok(([127, 0, 0, 1], 4000).into()));
    assert_eq!(media(&with("192.0.2.1", "c=IN IP4 127.0.0.2\r\n")), Ok(([127, 0, 0, 2], 4000).into()));
    assert!(media(&with("192.0.2.1", "")).is_err_and(|told| told.contains("192.0.2.1:4000 is refused")));
    assert!(media(&with("127.0.0.1", "c=IN IP4 192.0.2.1\r\n")).is_err());
    let other = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4 RTP/AVP 0\r\nm=video 6 RTP/AVP 9\r\nc=IN IP4 192.0.2.1\r\n";
    assert_eq!(media(other), Ok(([127, 0, 0, 1], 4).into()));
    for nothing in ["", "v=0\r\n", "v=0\r\nm=audio 4000 RTP/AVP 0\r\n", "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio x R\r\n"]
    {
        assert!(media(nothing).is_err(), "{nothing:?}");
    }
}
