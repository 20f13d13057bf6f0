//! Mail against a real SMTP server on loopback, with a clock that the test moves.

#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic)]

use crate::support;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use trunkline::clock::Clock;
use trunkline::config::{MailConfig, MailSecurity, Secret};
use trunkline::events::{MailState, trim_mails};

use support::{MINUTE, START, Server, Stand};

#[tokio::test]
async fn a_queued_mail_is_sent_with_its_words_intact() {
    let (stand, mut server) = (Stand::new(), Server::start(&[]).await);
    let mailer = stand.mailer(Some(&server.config()));
    stand.queue(1, "Ada <ada@example.com>").await;
    mailer.wake();
    let message = server.expect("message").await;
    assert_eq!(message["to"][0], "ada@example.com");
    assert_eq!(message["sender"], "box@example.com");
    assert_eq!(message["subject"], "Rückruf – 回电");
    assert_eq!(message["text"].as_str().expect("text").replace("\r\n", "\n").trim_end(), "Grüß Gott,\n.\nbis bald.");
    let sent = stand.until_sent(1).await;
    assert_eq!((sent.attempts, sent.problem), (1, None));
    mailer.stop().await;
}

#[tokio::test]
async fn several_mails_go_out_each_once_even_if_queued_twice() {
    let (stand, mut server) = (Stand::new(), Server::start(&[]).await);
    for id in [1, 2, 3, 2] {
        stand.queue(id, "ada@example.com").await;
    }
    let mailer = stand.mailer(Some(&server.config()));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.expect("message").await["message_id"].to_string());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3);
    stand.until_sent(3).await;
    stand.queue(4, "ada@example.com").await;
    mailer.wake();
    assert!(server.expect("message").await["message_id"].to_string().contains("0004@"), "nothing came twice");
    mailer.stop().await;
}

#[tokio::test]
async fn a_mail_that_was_put_off_is_tried_again_when_its_time_has_come() {
    let (stand, mut server) = (Stand::new(), Server::start(&["--tempfail", "2"]).await);
    let mailer = stand.mailer(Some(&server.config()));
    stand.queue(1, "ada@example.com").await;
    mailer.wake();
    server.expect("tempfailed").await;
    let waiting = stand.until(1, |mail| mail.attempts == 1).await;
    assert_eq!(waiting.state, MailState::Waiting);
    assert_eq!(waiting.next_attempt_at, START + MINUTE);
    assert!(waiting.problem.expect("a problem").contains("451"));

    stand.clock.advance(MINUTE);
    mailer.wake();
    server.expect("tempfailed").await;
    let waiting = stand.until(1, |mail| mail.attempts == 2).await;
    assert_eq!(waiting.next_attempt_at, START + 6 * MINUTE);

    // Not a moment too early: a mail queued just before goes out, the other one stays.
    stand.clock.advance(5 * MINUTE - Duration::from_millis(1));
    stand.queue(2, "bob@example.com").await;
    mailer.wake();
    assert_eq!(server.expect("message").await["to"][0], "bob@example.com");
    stand.until_sent(2).await;
    assert_eq!(stand.mail(1).attempts, 2);

    stand.clock.advance(Duration::from_millis(1));
    mailer.wake();
    assert_eq!(server.expect("message").await["to"][0], "ada@example.com");
    assert_eq!(stand.until_sent(1).await.attempts, 3);
    mailer.stop().await;
}

#[tokio::test]
async fn the_mailer_wakes_by_itself_when_a_mail_falls_due() {
    let mut server = Server::start(&[]).await;
    let stand = Stand::with_clock(Clock::system());
    let mailer = stand.mailer(Some(&server.config()));
    let due = stand.clock.utc() + Duration::from_millis(300);
    stand.queue_at(1, "ada@example.com", due).await;
    mailer.wake();
    server.expect("message").await;
    assert!(stand.clock.utc() >= due);
    stand.until_sent(1).await;
    mailer.stop().await;
}

#[tokio::test]
async fn after_24_hours_it_is_given_up_and_kept() {
    let (stand, server) = (Stand::new(), Server::start(&["--tempfail", "1000"]).await);
    let mailer = stand.mailer(Some(&server.config()));
    stand.queue(1, "ada@example.com").await;
    mailer.wake();
    let mut attempts = 1;
    let last = loop {
        let mail = stand.until(1, |mail| mail.attempts == attempts).await;
        if mail.state != MailState::Waiting {
            break mail;
        }
        stand.clock.advance(mail.next_attempt_at.since(stand.clock.utc()));
        mailer.wake();
        attempts += 1;
    };
    assert_eq!(last.state, MailState::Failed);
    assert!(last.problem.expect("a problem").starts_with("given up after 24 hours"));
    assert_eq!(stand.clock.utc().since(START).as_secs() / 3600, 23, "it was tried until the last hour");
    assert!((26..30).contains(&attempts), "{attempts} attempts");
    assert_eq!(trim_mails(&stand.store, stand.clock.utc()).await.expect("trimmed"), 1);
    mailer.stop().await;
}

#[tokio::test]
async fn a_refused_mail_fails_at_once_is_kept_and_does_not_hold_up_others() {
    let (stand, mut server) = (Stand::new(), Server::start(&["--reject"]).await);
    let mailer = stand.mailer(Some(&server.config()));
    stand.queue(1, "nobody@example.com").await;
    stand.queue(2, "no address").await;
    stand.queue(3, "nobody@example.com").await;
    mailer.wake();
    server.expect("rejected").await;
    server.expect("rejected").await;
    for (id, word) in [(1, "550"), (2, "not a mail address"), (3, "no such mailbox")] {
        let failed = stand.until(id, |mail| mail.state == MailState::Failed).await;
        assert_eq!(failed.attempts, 1);
        let problem = failed.problem.expect("a problem");
        assert!(problem.contains(word), "{problem}");
    }
    mailer.stop().await;
}

#[tokio::test]
async fn an_unreachable_server_delays_all_and_the_queue_survives_a_restart() {
    let mut stand = Stand::new();
    let mut server = Server::start(&[]).await;
    // Bound, so that nobody else gets the port, but not listening.
    let silent = tokio::net::TcpSocket::new_v4().expect("a socket");
    silent.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let mailer = stand.mailer(Some(&MailConfig { port: Some(port), ..server.config() }));
    for id in 1..=40 {
        stand.queue(id, "ada@example.com").await;
    }
    mailer.wake();
    for id in 1..=40 {
        let waiting = stand.until(id, |mail| mail.attempts == 1).await;
        assert_eq!(waiting.state, MailState::Waiting);
        assert!(waiting.problem.expect("a problem").contains("cannot be used"));
    }
    mailer.stop().await;
    stand.restart().await;

    stand.clock.advance(MINUTE);
    let mailer = stand.mailer(Some(&server.config()));
    for _ in 1..=40 {
        server.expect("message").await;
    }
    for id in 1..=40 {
        stand.until_sent(id).await;
    }
    mailer.stop().await;
}

#[tokio::test]
async fn without_a_mail_section_mail_is_kept_visible_and_sent_once_there_is_one() {
    let mut stand = Stand::new();
    let mailer = stand.mailer(None);
    stand.queue(1, "ada@example.com").await;
    mailer.wake();
    let held = stand.until(1, |mail| mail.problem.is_some()).await;
    assert_eq!((held.state, held.attempts), (MailState::Waiting, 0));
    assert!(held.problem.expect("a problem").starts_with("no [mail] section"));
    stand.clock.advance(Duration::from_secs(72 * 3600));
    assert_eq!(trim_mails(&stand.store, stand.clock.utc()).await.expect("trimmed"), 0, "what waits is kept");
    mailer.stop().await;
    stand.restart().await;

    let mut server = Server::start(&["--tempfail", "1"]).await;
    let mailer = stand.mailer(Some(&server.config()));
    server.expect("tempfailed").await;
    stand.until(1, |mail| mail.attempts == 1 && mail.state == MailState::Waiting).await;
    stand.clock.advance(MINUTE);
    mailer.wake();
    server.expect("message").await;
    stand.until_sent(1).await;
    mailer.stop().await;
}

#[tokio::test]
async fn a_second_copy_after_an_unknown_outcome_bears_the_same_message_id() {
    let (stand, mut server) = (Stand::new(), Server::start(&["--vanish", "1"]).await);
    let mailer = stand.mailer(Some(&server.config()));
    stand.queue(1, "ada@example.com").await;
    mailer.wake();
    let first = server.expect("message").await;
    stand.until(1, |mail| mail.attempts == 1 && mail.state == MailState::Waiting).await;
    stand.clock.advance(MINUTE);
    mailer.wake();
    let second = server.expect("message").await;
    assert_eq!(first["message_id"], second["message_id"]);
    stand.until_sent(1).await;
    mailer.stop().await;
}

/// A certificate for localhost, its key, and the authority that made it.
struct Certificates {
    directory: TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).expect("valid");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("signed");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("valid");
        let leaf = leaf.signed_by(&key, &issuer).expect("signed");

        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, pem: String| std::fs::write(directory.path().join(name), pem).expect("written");
        write("ca.pem", authority_certificate.pem());
        write("leaf.pem", leaf.pem());
        write("key.pem", key.serialize_pem());
        Certificates { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    async fn server(&self, arguments: &[&str]) -> Server {
        let (leaf, key) = (self.path("leaf.pem"), self.path("key.pem"));
        Server::start(&[&["--certificate", leaf.as_str(), "--key", key.as_str()], arguments].concat()).await
    }

    fn config(&self, server: &Server, security: MailSecurity) -> MailConfig {
        MailConfig {
            host: "localhost".into(),
            security,
            ca: Some(self.path("ca.pem").into()),
            username: Some("box".into()),
            password: Some(Secret::new("geheim")),
            ..server.config()
        }
    }
}

#[tokio::test]
async fn starttls_and_tls_encrypt_before_the_sign_in() {
    let certificates = Certificates::new();
    for (argument, security) in [("--starttls", MailSecurity::Starttls), ("--tls", MailSecurity::Tls)] {
        let (stand, mut server) = (Stand::new(), certificates.server(&[argument, "--auth", "box:geheim"]).await);
        let mailer = stand.mailer(Some(&certificates.config(&server, security)));
        stand.queue(1, "ada@example.com").await;
        mailer.wake();
        let message = server.expect("message").await;
        assert_eq!((&message["encrypted"], &message["user"]), (&true.into(), &"box".into()), "{argument}");
        stand.until_sent(1).await;
        mailer.stop().await;
    }
}

/// Queues one mail and returns what kept it from going out.
async fn problem(config: &MailConfig) -> String {
    let stand = Stand::new();
    let mailer = stand.mailer(Some(config));
    stand.queue(1, "ada@example.com").await;
    mailer.wake();
    let mail = stand.until(1, |mail| mail.attempts == 1).await;
    assert_eq!(mail.state, MailState::Waiting, "it can be mended, so the mail waits");
    mailer.stop().await;
    mail.problem.expect("a problem")
}

#[tokio::test]
async fn an_unknown_certificate_is_not_trusted() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    for (argument, security) in [("--starttls", MailSecurity::Starttls), ("--tls", MailSecurity::Tls)] {
        let server = certificates.server(&[argument]).await;
        let mut config = certificates.config(&server, security);
        config.ca = Some(others.path("ca.pem").into());
        let untrusted = problem(&config).await;
        assert!(untrusted.contains("certificate"), "{untrusted}");
        config.ca = None;
        let private = problem(&config).await;
        assert!(private.contains("certificate"), "{private}");
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_neither_password_nor_mail() {
    let (certificates, mut server) = (Certificates::new(), Server::start(&["--auth", "box:geheim"]).await);
    let config = certificates.config(&server, MailSecurity::Starttls);
    let refused = problem(&config).await;
    assert!(refused.contains("STARTTLS"), "{refused}");

    // The server has seen nothing of it: the first thing that it reports is this.
    let (stand, plain) = (Stand::new(), MailConfig { host: "localhost".into(), ..config });
    let mailer = stand.mailer(Some(&MailConfig { security: MailSecurity::None, ca: None, ..plain }));
    stand.queue(7, "ada@example.com").await;
    mailer.wake();
    assert!(server.expect("message").await["message_id"].to_string().contains("0007@"));
    mailer.stop().await;
}

#[tokio::test]
async fn a_wrong_or_missing_sign_in_keeps_the_mail_waiting() {
    let certificates = Certificates::new();
    let mut server = certificates.server(&["--tls", "--auth", "box:geheim"]).await;
    let mut config = certificates.config(&server, MailSecurity::Tls);
    config.password = Some(Secret::new("falsch"));
    let wrong = problem(&config).await;
    assert!(wrong.contains("sign-in") && !wrong.contains("falsch"), "{wrong}");
    server.expect("signin-refused").await;
    (config.username, config.password) = (None, None);
    let missing = problem(&config).await;
    assert!(missing.contains("530") && missing.contains("sign-in"), "{missing}");
}
