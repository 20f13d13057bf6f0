//! Orders to send a text: what is refused, and what waits.

use uuid::Uuid;

use super::record::{Message, MessageStatus};
use super::tables::{self, BY_DUE, MESSAGES};
use crate::call::once::{Made, Once, Seen};
use crate::call::record::Direction;
use crate::call::room::Room;
use crate::directory::{DialVerdict, normalize};
use crate::store::StoreError;

/// An order to send a text.
#[derive(Debug, Clone)]
pub struct SendMessage {
    pub organization: Uuid,
    pub requested_by: String,
    /// The first trunk that carries texts when absent.
    pub trunk: Option<String>,
    /// The trunk's caller id when absent.
    pub from: Option<String>,
    /// A number, or the user of an extension.
    pub to: String,
    pub text: String,
    /// Key under which the same order is recognised for 24 h, with a hash of the request; scoped by the caller.
    pub idempotency: Option<(String, [u8; 32])>,
}

/// An order that was taken.
#[derive(Debug, Clone)]
pub struct Sending {
    pub message: Message,
    /// The order was seen before; `message` is the first one's, as it stands.
    pub replayed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A field that holds what it may not; the text is for the client.
    #[error("{field} {problem}")]
    Invalid { field: &'static str, problem: &'static str },
    /// The dial policy does not allow the number.
    #[error("this number may not be sent to: it is neither on the whitelist nor allowed by a prefix")]
    Forbidden,
    #[error("no trunk carries text messages: set messages = true in a [[trunk]]")]
    NotConfigured,
    /// The box is stopping.
    #[error("the SIP engine is not running")]
    Unavailable,
    #[error("too many text messages are waiting")]
    Full,
    /// The idempotency key was used for another request.
    #[error("this idempotency key belongs to another request")]
    KeyReused,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Longest text, bytes: what fits into ten parts of a concatenated SMS in its widest letters, and more.
const LONGEST: usize = 4096;
/// Texts that may wait to be sent.
const MAX_WAITING: u64 = 10_000;
/// Longest caller id.
const LONGEST_FROM: usize = 64;

/// Checks the order and puts it on disk as a text that waits.
pub(super) async fn accept(room: &Room, order: SendMessage) -> Result<Sending, SendError> {
    if room.is_draining() {
        return Err(SendError::Unavailable);
    }
    check_text(&order.text)?;
    if let Some(from) = &order.from {
        check_from(from)?;
    }
    let (to, trunk) = destination(room, &order)?;
    let forbidden = !trunk.is_empty() && room.directory.may_dial(order.organization, &to)? != DialVerdict::Allowed;
    let full = room.store.read()?.count(&BY_DUE)? >= MAX_WAITING;
    let once = order.idempotency.as_ref().map(|key| Once::of(order.organization, key));
    let now = room.clock.utc();
    let message = Message {
        id: room.clock.id(),
        organization: order.organization,
        direction: Direction::Outbound,
        from: order.from.unwrap_or_default(),
        to,
        trunk,
        text: order.text,
        status: MessageStatus::Queued,
        created_at: now,
        sent_at: None,
        due_at: Some(now),
        attempts: 0,
        sip_code: None,
        error_detail: String::new(),
        delivery: None,
        reported_at: None,
        requested_by: order.requested_by,
    };
    room.store
        .write(move |change| {
            match once.map(|once| once.look(change, now)).transpose()? {
                Some(Seen::Another) => return Err(SendError::KeyReused),
                Some(Seen::Same(made)) => {
                    if let Some(message) = change.get(&MESSAGES, &made.id)? {
                        return Ok(Sending { message, replayed: true });
                    }
                }
                Some(Seen::Never) | None => {}
            }
            if forbidden {
                return Err(SendError::Forbidden);
            }
            if full {
                return Err(SendError::Full);
            }
            tables::save(change, &message)?;
            if let Some(once) = once {
                let made = Made { id: message.id, whitelist_added: false, whitelist_error: None };
                once.remember(change, made, now)?;
            }
            Ok(Sending { message, replayed: false })
        })
        .await
}

/// Number and trunk, or extension and no trunk.
fn destination(room: &Room, order: &SendMessage) -> Result<(String, String), SendError> {
    if order.trunk.is_none() && room.extension(&order.to).is_some() {
        return Ok((order.to.clone(), String::new()));
    }
    let to = normalize(&order.to).filter(|to| (2..=16).contains(&to.len()));
    let to = to.ok_or(SendError::Invalid { field: "to", problem: "must be a telephone number or an extension" })?;
    let mut carriers = room.config.trunks.iter().filter(|trunk| trunk.messages);
    let trunk = match &order.trunk {
        Some(name) => carriers
            .find(|trunk| trunk.name == *name)
            .ok_or(SendError::Invalid { field: "trunk", problem: "must name a trunk that carries text messages" })?,
        None => carriers.next().ok_or(SendError::NotConfigured)?,
    };
    Ok((to, trunk.name.clone()))
}

fn check_text(text: &str) -> Result<(), SendError> {
    let invalid = |problem| Err(SendError::Invalid { field: "text", problem });
    match text {
        text if text.trim().is_empty() => invalid("must not be empty"),
        text if text.len() > LONGEST => invalid("must not be longer than 4096 bytes"),
        text if text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t')) => {
            invalid("must not contain control characters")
        }
        _ => Ok(()),
    }
}

/// A user part: nothing that could end it or begin another header.
fn check_from(from: &str) -> Result<(), SendError> {
    let good = (1..=LONGEST_FROM).contains(&from.len())
        && from.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-_.".contains(&byte));
    if good {
        Ok(())
    } else {
        Err(SendError::Invalid { field: "from", problem: "must be a number or a plain user name" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_reach_a_header_is_refused() {
        for from in ["", "a b", "1\r\nX: y", "\"x\"", "a@b", "<sip:a>", "ü"] {
            assert!(check_from(from).is_err(), "{from:?}");
        }
        assert!(check_from("+4930123456").is_ok() && check_from("front-desk").is_ok());
    }

    #[test]
    fn a_text_has_letters_and_lines_and_a_length() {
        assert!(check_text("Grüße\r\n👍\t").is_ok());
        for text in ["", "  \n", "a\0b", "\u{1b}[2J"] {
            assert!(check_text(text).is_err(), "{text:?}");
        }
        assert!(check_text(&"a".repeat(LONGEST)).is_ok() && check_text(&"a".repeat(LONGEST + 1)).is_err());
    }
}
