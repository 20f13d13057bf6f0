//! Server-sent events, as the stream of a chat completion uses them (WHATWG HTML §9.2.6): bytes in pieces of any size
//! in, the `data` of each event out.

/// Longest line and longest data of one event, bytes.
const LONGEST: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    after_return: bool,
}

/// A line or an event is longer than any chat server sends.
#[derive(Debug, PartialEq)]
pub(super) struct TooLong;

impl Events {
    /// The data of the events that `bytes` complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut found = Vec::new();
        for byte in bytes {
            let second_half = std::mem::take(&mut self.after_return) && *byte == b'\n';
            match byte {
                _ if second_half => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    found.extend(self.end_of_line()?);
                }
                _ if self.line.len() >= LONGEST => return Err(TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(found)
    }

    /// The stream has ended: an event without its empty line still counts (servers forget it).
    pub(super) fn finish(mut self) -> Option<String> {
        let last = self.end_of_line().ok()?;
        last.or_else(|| self.event())
    }

    fn end_of_line(&mut self) -> Result<Option<String>, TooLong> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(self.event());
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            if self.data.len() + value.len() > LONGEST {
                return Err(TooLong);
            }
            if self.has_data {
                self.data.push('\n');
            }
            self.data.push_str(value);
            self.has_data = true;
        }
        Ok(None)
    }

    fn event(&mut self) -> Option<String> {
        std::mem::take(&mut self.has_data).then(|| std::mem::take(&mut self.data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_events_with_any_line_ends_and_ignores_the_rest() {
        let mut events = Events::default();
        let text = b": comment\r\ndata: one\r\n\r\nevent: x\nid: 1\ndata:two\ndata: three\n\n\n\rdata: four\r\r";
        assert_eq!(events.push(text).expect("short"), ["one", "two\nthree", "four"]);
        assert_eq!(events.push(b"data: [DO").expect("short"), [""; 0]);
        assert_eq!(events.push(b"NE]").expect("short"), [""; 0]);
        assert_eq!(events.finish().as_deref(), Some("[DONE]"));
    }

    #[test]
    fn refuses_a_line_without_end() {
        assert_eq!(Events::default().push(&vec![b'x'; LONGEST + 1]), Err(TooLong));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(texts in proptest::collection::vec("[^\r\n]{0,20}", 1..8), size in 1usize..9) {
            let stream: String = texts.iter().map(|text| format!("data: {text}\r\n\r\n")).collect();
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(events.push(piece).expect("short"));
            }
            prop_assert_eq!(found, texts);
        }
    }
}
