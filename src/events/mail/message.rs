use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use std::time::{Duration, UNIX_EPOCH};

use super::queue::QueuedMail;

/// RFC 3834 §5: no vacation notice shall answer it.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".into())
    }
}

/// The message on the wire (RFC 5322), UTF-8. Its Message-ID depends on the mail's id alone, so that a second copy after
/// an unknown outcome is recognised as the same. The error is for the operator.
pub(super) fn build(queued: &QueuedMail, from: &Mailbox) -> Result<Message, String> {
    let to: Mailbox =
        queued.mail.to.trim().parse().map_err(|error| format!("the recipient is not a mail address: {error}"))?;
    let queued_at = UNIX_EPOCH + Duration::from_millis(queued.queued_at.0.max(0).unsigned_abs());
    Message::builder()
        .from(from.clone())
        .to(to)
        .subject(one_line(&queued.mail.subject))
        .date(queued_at)
        .message_id(Some(format!("<{}@{}>", queued.id.simple(), from.email.domain())))
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN)
        .body(queued.mail.text.clone())
        .map_err(|error| format!("the mail cannot be put together: {error}"))
}

/// A header is one line: names that callers give must not begin another.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::queue::{Mail, MailState};
    use super::*;
    use crate::clock::UtcTime;

    fn queued(to: &str, subject: &str) -> QueuedMail {
        QueuedMail {
            id: uuid::Uuid::from_u128(0xabc),
            mail: Mail { to: to.into(), subject: subject.into(), text: "Grüße\n.\nende".into() },
            queued_at: UtcTime(1_700_000_000_000),
            attempts: 0,
            next_attempt_at: UtcTime(0),
            problem: None,
            state: MailState::Waiting,
        }
    }

    fn formatted(queued: &QueuedMail) -> String {
        let from = "Trunkline <box@example.com>".parse().unwrap();
        String::from_utf8(build(queued, &from).unwrap().formatted()).unwrap()
    }

    #[test]
    fn a_message_says_who_when_and_that_no_one_need_answer() {
        let text = formatted(&queued("ada@example.com", "Hello"));
        for line in [
            "Message-ID: <00000000000000000000000000000abc@example.com>",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "Auto-Submitted: auto-generated",
            "Subject: Hello",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn a_subject_cannot_begin_another_header() {
        let text = formatted(&queued("ada@example.com", "Hello\r\nBcc: eve@example.com"));
        assert!(!text.lines().any(|line| line.starts_with("Bcc")), "{text}");
    }

    #[test]
    fn an_address_that_is_none_is_said_to_be_none() {
        let from = "box@example.com".parse().unwrap();
        for to in ["", "ada", "ada@", "a@b\r\nRCPT TO:<eve@example.com>", "ada@example.com, eve@example.com"] {
            let problem = build(&queued(to, ""), &from).expect_err("refused");
            assert!(problem.contains("not a mail address"), "{to:?}: {problem}");
        }
    }
}
