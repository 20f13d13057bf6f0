//! Secrets in messages, blotted out with as many letters, so that every length stays true.
//!
//! | Where | What |
//! |---|---|
//! | Authorization, Proxy-Authorization, Authentication-Info and Proxy-Authentication-Info, scheme Digest | the values of `response`, `rspauth` and `cnonce`: with them a password can be guessed at leisure |
//! | the same, other schemes | everything after the scheme |
//! | body: `a=crypto:` of SDES (RFC 4568) and `k=` | the keys |

use bytes::Bytes;

const BLOT: u8 = b'x';
const HEADERS: [&[u8]; 4] =
    [b"authorization", b"proxy-authorization", b"authentication-info", b"proxy-authentication-info"];
const DIGEST_SECRETS: [&[u8]; 3] = [b"response", b"rspauth", b"cnonce"];

/// What the lines of a header may hold.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    Nothing,
    /// Parameters, some of which are secret.
    Digest,
    /// A token, all of it secret.
    Token,
}

/// `None` when there is nothing to hide.
pub fn masked(message: &Bytes) -> Option<Bytes> {
    let mut spans = Vec::new();
    let (mut at, mut in_body, mut holds) = (0, false, Holds::Nothing);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let (begin, content) = (at, line.trim_ascii_end());
        at += line.len();
        if in_body {
            body_line(content, begin, &mut spans);
            continue;
        }
        if content.is_empty() {
            in_body = true;
            continue;
        }
        // A folded line belongs to the one before (RFC 3261 §7.3.1).
        let mut value_at = 0;
        if !line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            (value_at, holds) = value_of_secret(content);
        }
        let value = content.get(value_at..).unwrap_or_default();
        match holds {
            Holds::Nothing => {}
            Holds::Digest => digest_value(value, begin + value_at, &mut spans),
            Holds::Token => spans.push((begin + value_at, begin + content.len())),
        }
    }
    if spans.is_empty() {
        return None;
    }
    let mut copy = message.to_vec();
    for (begin, end) in spans {
        for byte in copy.get_mut(begin..end).unwrap_or_default() {
            *byte = BLOT;
        }
    }
    Some(copy.into())
}

/// Where the secret part of a header begins, and what it is.
fn value_of_secret(line: &[u8]) -> (usize, Holds) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let name = line.get(..colon).unwrap_or_default().trim_ascii();
    let Some(header) = HEADERS.iter().position(|header| name.eq_ignore_ascii_case(header)) else {
        return (0, Holds::Nothing);
    };
    let rest = line.get(colon + 1..).unwrap_or_default();
    let value = colon + 1 + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let words = line.get(value..).unwrap_or_default();
    let scheme = words.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    // The last two have no scheme.
    if header >= 2 || words.get(..scheme).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"digest")) {
        return (value, Holds::Digest);
    }
    (value + scheme + 1, Holds::Token)
}

fn digest_value(value: &[u8], begin: usize, spans: &mut Vec<(usize, usize)>) {
    for secret in DIGEST_SECRETS {
        for (at, window) in value.windows(secret.len()).enumerate() {
            if !window.eq_ignore_ascii_case(secret) || at > 0 && is_word(value.get(at - 1)) {
                continue;
            }
            parameter(value, at + secret.len(), begin, spans);
        }
    }
}

/// `= "…"` or `= token` from `at` on.
fn parameter(value: &[u8], mut at: usize, begin: usize, spans: &mut Vec<(usize, usize)>) {
    let blank = |at: usize| value.get(at).is_some_and(u8::is_ascii_whitespace);
    while blank(at) {
        at += 1;
    }
    if value.get(at) != Some(&b'=') {
        return;
    }
    at += 1;
    while blank(at) {
        at += 1;
    }
    let quoted = value.get(at) == Some(&b'"');
    let first = if quoted { at + 1 } else { at };
    let rest = value.get(first..).unwrap_or_default();
    let ends = |byte: &u8| if quoted { *byte == b'"' } else { *byte == b',' || byte.is_ascii_whitespace() };
    let length = rest.iter().position(ends).unwrap_or(rest.len());
    spans.push((begin + first, begin + first + length));
}

fn body_line(line: &[u8], begin: usize, spans: &mut Vec<(usize, usize)>) {
    if starts_with(line, b"k=") {
        spans.push((begin + 2, begin + line.len()));
    }
    if !starts_with(line, b"a=crypto:") {
        return;
    }
    const KEY: &[u8] = b"inline:";
    for (at, window) in line.windows(KEY.len()).enumerate() {
        if window.eq_ignore_ascii_case(KEY) {
            let first = at + KEY.len();
            let rest = line.get(first..).unwrap_or_default();
            let end = rest.iter().position(|byte| matches!(byte, b'|' | b' ' | b';')).unwrap_or(rest.len());
            spans.push((begin + first, begin + first + end));
        }
    }
}

fn starts_with(text: &[u8], beginning: &[u8]) -> bool {
    text.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blotted_out_and_nothing_else_changes() {
        let text = |response: &str, cnonce: &str, key: &str, token: &str| {
            format!(
                "INVITE sip:a@b SIP/2.0\r\nCall-ID: response=\"visible\"\r\n\
                 authorization : Digest username=\"bob\", nonce=\"n\", response=\"{response}\", cnonce=\"{cnonce}\",\r\n \
                 nc=00000001, Response = {response}\r\nProxy-Authorization: Bearer {token}\r\nContent-Length: 9\r\n\r\n\
                 v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4 KDR=0\r\nk=base64:{key}\r\n"
            )
        };
        let before = Bytes::from(text("6629fae4", "0a4f", "WVNfX19zZW1j", "se.cr=et"));
        let after = masked(&before).expect("masked");
        assert_eq!(after.len(), before.len());
        let expected = text("xxxxxxxx", "xxxx", "xxxxxxxxxxxx", "xxxxxxxx").replace("k=base64:", "k=xxxxxxx");
        assert_eq!(std::str::from_utf8(&after), Ok(expected.as_str()));
    }

    #[test]
    fn a_message_without_secrets_is_not_copied() {
        let plain =
            Bytes::from_static(b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest nonce=\"n\"\r\n\r\nv=0\r\n");
        assert!(masked(&plain).is_none());
        assert!(masked(&Bytes::new()).is_none());
    }
}
