//! The few fields that a trace reads out of raw bytes, without parsing the message.

use bytes::Bytes;

/// A head is looked through so far.
const LOOKED_AT: usize = 16_384;

/// The value of the first header with that long or short name.
pub fn header<'a>(message: &'a [u8], long: &str, short: &str) -> Option<&'a [u8]> {
    let head = message.get(..LOOKED_AT).unwrap_or(message);
    let lines = head.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = line.get(..colon).unwrap_or_default().trim_ascii_end();
        if name.eq_ignore_ascii_case(long.as_bytes()) || name.eq_ignore_ascii_case(short.as_bytes()) {
            return line.get(colon + 1..).map(<[u8]>::trim_ascii);
        }
    }
    None
}

/// A part of `message`, not a copy.
pub fn call_id(message: &Bytes) -> Option<Bytes> {
    header(message, "Call-ID", "i").filter(|id| !id.is_empty()).map(|id| message.slice_ref(id))
}

/// The first line as text.
pub fn first_line(message: &[u8]) -> String {
    let line = message.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.get(..512).unwrap_or(line);
    String::from_utf8_lossy(line.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_under_either_name_in_any_case_and_not_in_the_body() {
        for (text, id) in [
            ("BYE a SIP/2.0\r\nCall-ID: abc\r\n\r\n", Some("abc")),
            ("BYE a SIP/2.0\r\nI : abc@x \r\n\r\n", Some("abc@x")),
            ("BYE a SIP/2.0\nvia: b\ncall-id:abc\n\n", Some("abc")),
            ("BYE a SIP/2.0\r\nTo: b\r\n\r\nCall-ID: abc\r\n", None),
            ("BYE a SIP/2.0\r\nCall-ID:\r\n\r\n", None),
            ("", None),
        ] {
            let found = call_id(&Bytes::from_static(text.as_bytes()));
            assert_eq!(found.as_deref(), id.map(str::as_bytes), "{text:?}");
        }
        assert_eq!(first_line(b"SIP/2.0 200 OK\r\nTo: a"), "SIP/2.0 200 OK");
    }
}
