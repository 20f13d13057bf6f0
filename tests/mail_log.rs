//! What the mailer logs. In a test program of its own: the subscriber must see every line, and lines of nobody else.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

#[path = "support/mail.rs"]
mod support;
use std::sync::{Arc, Mutex};

use trunkline::events::MailState;
use uuid::Uuid;

use support::{Server, Stand};

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread runs the test, the mailer and therefore everything that this subscriber sees.
#[tokio::test(flavor = "current_thread")]
async fn no_address_and_no_word_of_a_mail_is_logged_at_info_or_above() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    for (arguments, settled) in [
        (&["--reject"] as &[&str], MailState::Failed),
        (&["--tempfail", "1"], MailState::Waiting),
        (&["--auth", "ada@example.com:secret"], MailState::Waiting),
        (&[], MailState::Sent),
    ] {
        let (stand, server) = (Stand::new(), Server::start(arguments).await);
        let mailer = stand.mailer(Some(&server.config()));
        stand.queue(1, "Ada <ada@example.com>").await;
        mailer.wake();
        assert_eq!(stand.until(1, |mail| mail.attempts == 1).await.state, settled);
        mailer.stop().await;
    }
    let text = String::from_utf8(log.0.lock().expect("not poisoned").clone()).expect("UTF-8");
    for logged in ["mail refused", "mail not sent yet", "mail sent", "code=550", &Uuid::from_u128(1).to_string()] {
        assert!(text.contains(logged), "{logged} in:\n{text}");
    }
    for private in ["ada", "Ada", "example.com", "Rückruf", "bis bald", "secret"] {
        assert!(!text.contains(private), "{private} in:\n{text}");
    }
}
