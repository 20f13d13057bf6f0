//! What leaves the box because something happened: the outbox of events and the mail queue.
//!
//! Events and mails are appended inside the store change that they report, so that a crash neither loses one nor
//! invents one; what flows out is read from the outbox by sequence number, or sent over SMTP. This version keeps events
//! for later deliverers and sends mail; it knows nothing of calls beyond the data that an event carries.

mod mail;
mod outbox;

pub use mail::{Mail, MailState, Mailer, QueuedMail, mails, queue_mail, trim_mails};
pub use outbox::{Event, EventKind, Sequenced, append, of_subject, since, trim};
