//! Delivery reports (RFC 5438): of which message, and what became of it.

/// A report on a message that was sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub message_id: String,
    pub delivery: Delivery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Delivered,
    /// The recipient looked at it.
    Displayed,
    Failed,
    /// It went on, or is kept somewhere; the last word is still to come.
    UnderWay,
}

/// Longest id that is looked up.
const LONGEST_ID: usize = 256;

/// Reads the two elements that matter, whatever prefix they carry; `None` without them. No entity is expanded and no
/// tag is nested, so nothing in a body can cost more than its length.
pub fn read(xml: &str) -> Option<Report> {
    let (mut id, mut delivery, mut in_status) = (None, None, false);
    for (tag, text) in elements(xml) {
        match tag {
            "message-id" => id = Some(text.trim().to_owned()),
            "status" => in_status = true,
            "/status" => in_status = false,
            _ if in_status => delivery = delivery.or(word(tag)),
            _ => {}
        }
    }
    let message_id = id.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
    Some(Report { message_id, delivery: delivery? })
}

fn word(tag: &str) -> Option<Delivery> {
    match tag {
        "delivered" => Some(Delivery::Delivered),
        "displayed" => Some(Delivery::Displayed),
        "failed" | "error" | "forbidden" => Some(Delivery::Failed),
        "processed" | "stored" => Some(Delivery::UnderWay),
        _ => None,
    }
}

/// Each tag without prefix, attributes and the slash of an empty element, with the text that follows it.
fn elements(xml: &str) -> impl Iterator<Item = (&str, &str)> {
    xml.split('<').skip(1).filter_map(|piece| {
        let (tag, text) = piece.split_once('>')?;
        let name = tag.trim_end_matches('/').split(|letter: char| letter.is_ascii_whitespace()).next()?;
        let closing = name.starts_with('/');
        let local = name.trim_start_matches('/').rsplit(':').next()?;
        Some((
            if closing && local == "status" {
                "/status"
            } else if closing {
                "/"
            } else {
                local
            },
            text,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 5438 §11.
    #[test]
    fn reads_the_published_example() {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\n\
                   <message-id>34jk324j</message-id>\n<datetime>2008-04-04T12:16:49-05:00</datetime>\n\
                   <display-notification>\n<status>\n<displayed/>\n</status>\n</display-notification>\n</imdn>";
        let report = Report { message_id: "34jk324j".into(), delivery: Delivery::Displayed };
        assert_eq!(read(xml), Some(report));
    }

    #[test]
    fn prefixes_and_other_verdicts_are_understood() {
        let of = |verdict: &str| {
            read(&format!("<i:imdn><i:message-id> a </i:message-id><i:delivery-notification><i:status>{verdict}</i:status></i:delivery-notification></i:imdn>"))
                .map(|report| report.delivery)
        };
        assert_eq!(of("<i:delivered/>"), Some(Delivery::Delivered));
        assert_eq!(of("<i:failed />"), Some(Delivery::Failed));
        assert_eq!(of("<i:stored></i:stored>"), Some(Delivery::UnderWay));
        assert_eq!(of("<i:unknown/>"), None);
    }

    #[test]
    fn a_word_outside_of_status_is_no_verdict() {
        assert_eq!(read("<imdn><message-id>a</message-id><delivered/></imdn>"), None);
        assert_eq!(read("<imdn><message-id></message-id><status><delivered/></status></imdn>"), None);
        assert_eq!(read("<<<>>>"), None);
    }
}
