//! The envelope of RFC 3862: headers, a blank line, the headers of the content, a blank line, the content.

pub struct Inner<'a> {
    pub content_type: Option<String>,
    pub body: &'a [u8],
}

/// `None` when there is no envelope around anything.
pub fn open(envelope: &[u8]) -> Option<Inner<'_>> {
    let (headers, rest) = headers(envelope)?;
    if headers.is_empty() {
        return None;
    }
    // Without headers of its own the content begins with the blank line.
    let (headers, body) = headers_or_blank(rest)?;
    let content_type = headers
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("Content-Type"))
        .map(|(_, value)| value.trim().to_owned());
    Some(Inner { content_type, body })
}

/// Lines that hold a colon each, and what follows the blank line after them.
fn headers(text: &[u8]) -> Option<(&str, &[u8])> {
    let (head, rest) = split_blank(text)?;
    let head = std::str::from_utf8(head).ok()?;
    head.lines().all(|line| line.contains(':')).then_some((head, rest))
}

fn headers_or_blank(text: &[u8]) -> Option<(&str, &[u8])> {
    match text.strip_prefix(b"\r\n").or_else(|| text.strip_prefix(b"\n")) {
        Some(body) => Some(("", body)),
        None => headers(text),
    }
}

fn split_blank(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = |mark: &[u8]| text.windows(mark.len()).position(|window| window == mark).map(|at| (at, mark.len()));
    let (at, length) = match (blank(b"\r\n\r\n"), blank(b"\n\n")) {
        (Some(one), Some(other)) => one.min(other),
        (one, other) => one.or(other)?,
    };
    Some((text.get(..at)?, text.get(at + length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_is_found_with_either_line_end_and_without_headers() {
        let whole = open(b"From: <im:a@b>\r\n\r\nContent-Type: text/plain\r\nContent-ID: <1>\r\n\r\na\r\n\r\nb")
            .expect("whole");
        assert_eq!((whole.content_type.as_deref(), whole.body), (Some("text/plain"), &b"a\r\n\r\nb"[..]));
        let bare = open(b"From: <im:a@b>\n\n\nhi").expect("bare");
        assert_eq!((bare.content_type, bare.body), (None, &b"hi"[..]));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        for text in ["", "hi", "From: a", "no colon\r\n\r\nContent-Type: a\r\n\r\nb", "From: a\r\n\r\nno colon"] {
            assert!(open(text.as_bytes()).is_none(), "{text}");
        }
    }
}
