use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;

use super::message;
use super::queue::{Outcome, QueuedMail};
use crate::config::{MailConfig, MailSecurity};

/// Look-up, connection, TLS and sign-in together.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// One message (RFC 5321 §4.5.3.2 allows minutes; a queue must not stand behind one mail for so long).
const SEND_LIMIT: Duration = Duration::from_secs(120);
const QUIT_LIMIT: Duration = Duration::from_secs(2);
/// Addresses of the server's name that are tried.
const MAX_ADDRESSES: usize = 4;

/// The mail server of the configuration.
pub(super) struct Relay {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    from: Mailbox,
}

enum Security {
    Starttls(TlsParameters),
    Tls(TlsParameters),
    Plain,
}

/// A session with the mail server, signed in.
pub(super) struct Session {
    connection: AsyncSmtpConnection,
    usable: bool,
}

/// What one attempt came to, and the server's reply code for the log.
pub(super) struct Attempt {
    pub(super) outcome: Outcome,
    pub(super) code: Option<u16>,
}

impl Relay {
    pub(super) fn new(config: &MailConfig) -> Result<Relay, String> {
        let from = config.from.parse().map_err(|error| format!("[mail] from is not a mail address: {error}"))?;
        let host = config.host.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (security, port) = match config.security {
            MailSecurity::Starttls => (Security::Starttls(tls(&host, config)?), 587),
            MailSecurity::Tls => (Security::Tls(tls(&host, config)?), 465),
            MailSecurity::None if is_this_host(&host) => (Security::Plain, 25),
            MailSecurity::None => {
                return Err(
                    "[mail] security = \"none\" sends mail and password in the clear and is allowed only towards a \
                     relay on this host (localhost); use \"starttls\" or \"tls\""
                        .into(),
                );
            }
        };
        let credentials = match (&config.username, &config.password) {
            (Some(name), Some(password)) => Some(Credentials::new(name.clone(), password.expose().to_owned())),
            (None, None) => None,
            (Some(_), None) => return Err("[mail] username is set, but password is missing".into()),
            (None, Some(_)) => return Err("[mail] password is set, but username is missing".into()),
        };
        Ok(Relay { host, port: config.port.unwrap_or(port), security, credentials, from })
    }

    /// Connects and signs in. The error is for the operator and holds for every mail: it is not about one of them.
    pub(super) async fn connect(&self) -> Result<Session, String> {
        let opened = tokio::time::timeout(CONNECT_LIMIT, self.open()).await;
        opened
            .unwrap_or_else(|_| Err(format!("no answer within {} seconds", CONNECT_LIMIT.as_secs())))
            .map_err(|problem| format!("the mail server {}:{} cannot be used: {problem}", self.host, self.port))
    }

    async fn open(&self) -> Result<Session, String> {
        let mut connection = self.connect_any().await?;
        if let Security::Starttls(tls) = &self.security {
            let upgraded = connection.starttls(tls.clone(), &ClientId::default()).await;
            upgraded.map_err(|error| format!("STARTTLS: {}", explain(&error)))?;
        }
        if let Some(credentials) = &self.credentials {
            let signed_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await;
            signed_in.map_err(|error| format!("sign-in with [mail] username: {}", explain(&error)))?;
        }
        Ok(Session { connection, usable: true })
    }

    async fn connect_any(&self) -> Result<AsyncSmtpConnection, String> {
        let addresses = resolve(&self.host).await?;
        // Fewer addresses leave more time for each; all of them together stay within the limit.
        let count = u32::try_from(addresses.len().clamp(1, MAX_ADDRESSES)).unwrap_or(1);
        let limit = CONNECT_LIMIT / 2 / count;
        let mut problems = Vec::new();
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            let tls = match &self.security {
                Security::Tls(tls) => Some(tls.clone()),
                Security::Starttls(_) | Security::Plain => None,
            };
            let server = SocketAddr::new(address, self.port);
            let hello = ClientId::default();
            match AsyncSmtpConnection::connect_tokio1(server, Some(limit), &hello, tls, None).await {
                Ok(connection) => return Ok(connection),
                Err(error) => problems.push(format!("{address}: {}", explain(&error))),
            }
        }
        Err(if problems.is_empty() { format!("the name {} has no address", self.host) } else { problems.join("; ") })
    }

    pub(super) async fn send(&self, session: &mut Session, mail: &QueuedMail) -> Attempt {
        match message::build(mail, &self.from) {
            Ok(message) => session.send(&message).await,
            Err(problem) => Attempt { outcome: Outcome::Refused(problem), code: None },
        }
    }
}

impl Session {
    async fn send(&mut self, message: &Message) -> Attempt {
        // Until the server has answered, what happened is unknown and the session is in the middle of something.
        self.usable = false;
        let bytes = message.formatted();
        let sent = tokio::time::timeout(SEND_LIMIT, self.connection.send(message.envelope(), &bytes)).await;
        match sent {
            Ok(Ok(_)) => {
                self.usable = true;
                Attempt { outcome: Outcome::Sent, code: Some(250) }
            }
            Ok(Err(error)) => judge(&error),
            Err(_) => Attempt {
                outcome: Outcome::Delayed(format!("no answer within {} seconds", SEND_LIMIT.as_secs())),
                code: None,
            },
        }
    }

    /// Whether another mail can go over it; lettre ends the session after a refusal.
    pub(super) fn usable(&self) -> bool {
        self.usable && !self.connection.has_broken()
    }

    pub(super) async fn quit(mut self) {
        if self.connection.has_broken() {
            return;
        }
        // The mail is delivered or not by now; how the goodbye is taken does not matter.
        let _ = tokio::time::timeout(QUIT_LIMIT, self.connection.quit()).await;
    }
}

fn judge(error: &lettre::transport::smtp::Error) -> Attempt {
    let code = error.status().map(u16::from);
    let text = explain(error);
    let outcome = match code {
        // RFC 4954 §6: sign-in is missing or wrong. That is the configuration's fault, and can be mended.
        Some(530 | 534 | 535 | 538) => Outcome::Delayed(format!("the mail server wants another sign-in: {text}")),
        Some(500..=599) => Outcome::Refused(format!("the mail server refused the mail: {text}")),
        Some(_) => Outcome::Delayed(format!("the mail server put the mail off: {text}")),
        // The server lacks SMTPUTF8 or 8BITMIME, which another attempt does not change.
        None if error.is_client() => Outcome::Refused(text),
        None => Outcome::Delayed(format!("the connection to the mail server broke: {text}")),
    };
    Attempt { outcome, code }
}

/// The error with its causes, in one line.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn tls(host: &str, config: &MailConfig) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.ca {
        let unusable = |problem: String| format!("[mail] ca {}: {problem}", path.display());
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        let authority = Certificate::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
        // A private authority replaces the public ones: nobody else may vouch for this server.
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|error| format!("[mail] TLS towards {host}: {error}"))
}

fn is_this_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses of a name. Not the system's resolver: a static program cannot depend on it.
async fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let resolver = resolver.map_err(|error| format!("no name server is known ({error}); give an IP address"))?;
    let found = resolver.lookup_ip(host).await.map_err(|error| format!("look-up of {host}: {error}"))?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn config() -> MailConfig {
        MailConfig {
            host: "localhost".into(),
            port: None,
            security: MailSecurity::Starttls,
            username: None,
            password: None,
            from: "box@example.com".into(),
            ca: None,
        }
    }

    fn problem(config: &MailConfig) -> String {
        Relay::new(config).err().expect("refused")
    }

    #[test]
    fn the_port_follows_the_security_unless_it_is_given() {
        let port = |security, port| Relay::new(&MailConfig { security, port, ..config() }).map(|relay| relay.port);
        assert_eq!(port(MailSecurity::Starttls, None), Ok(587));
        assert_eq!(port(MailSecurity::Tls, None), Ok(465));
        assert_eq!(port(MailSecurity::None, None), Ok(25));
        assert_eq!(port(MailSecurity::None, Some(2525)), Ok(2525));
    }

    #[test]
    fn plain_text_goes_to_this_host_only() {
        for (host, allowed) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("mail.example.com", false),
            ("192.168.1.2", false),
            ("localhost.example.com", false),
        ] {
            let config = MailConfig { host: host.into(), security: MailSecurity::None, ..config() };
            assert_eq!(Relay::new(&config).is_ok(), allowed, "{host}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_key() {
        let from = MailConfig { from: "nobody".into(), ..config() };
        assert!(problem(&from).starts_with("[mail] from"));
        let ca = MailConfig { ca: Some("/nonexistent/ca.pem".into()), ..config() };
        assert!(problem(&ca).starts_with("[mail] ca /nonexistent/ca.pem"));
        let username = MailConfig { username: Some("box".into()), ..config() };
        assert!(problem(&username).contains("password is missing"));
        let password = MailConfig { password: Some(Secret::new("x")), ..config() };
        assert!(problem(&password).contains("username is missing"));
    }
}
