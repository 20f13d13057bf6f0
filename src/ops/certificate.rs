//! The certificate that the box makes for itself, shown by HTTPS and by SIP over TLS unless others are configured.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};

use crate::clock::{Clock, UtcTime};
use crate::config::Config;

/// A file that cannot be read, made or used, and why.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct BadFile {
    pub path: String,
    pub problem: String,
}

const CERTIFICATE_FILE: &str = "https-certificate.pem";
const KEY_FILE: &str = "https-key.pem";
/// The name under which a box without DNS is found on the LAN.
const LOCAL_NAME: &str = "trunkline.local";
/// Clients refuse longer lives of a server certificate.
const LIFE: Duration = Duration::from_secs(820 * 24 * 3600);
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);

/// Midnight (UTC) of that day, in the words of rcgen.
macro_rules! midnight {
    ($time:expr) => {{
        let part = |pattern: &str| $time.format(pattern).parse::<u16>().unwrap_or(1);
        let small = |pattern: &str| u8::try_from(part(pattern)).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(part("%Y")), small("%m"), small("%d"))
    }};
}

fn failed(path: &Path, problem: &(impl ToString + ?Sized)) -> BadFile {
    BadFile { path: path.display().to_string(), problem: problem.to_string() }
}

/// Paths of the pair; made when there is none, when the host's name is not in it, or when it runs out.
///
/// Addresses that change do not make a new one: whoever pinned it by name would be locked out.
pub fn self_signed(config: &Config, clock: &Clock) -> Result<(PathBuf, PathBuf), BadFile> {
    let (directory, host, listen) = (&config.state.directory, &config.organization.host, config.http.listen.ip());
    let (certificate, key) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
    let stands = std::fs::read_to_string(&certificate).is_ok_and(|pem| still_good(&pem, host, clock.utc()));
    if !stands || !key.exists() {
        make(&certificate, &key, host, listen, clock.utc())?;
    }
    Ok((certificate, key))
}

/// The first line of a certificate file that we made: readers of PEM skip text before the armour.
fn label(host: &str, until: UtcTime) -> String {
    format!("# self-signed for {host} until {}\n", until.rfc3339())
}

fn still_good(pem: &str, host: &str, now: UtcTime) -> bool {
    let rest = pem.lines().next().and_then(|line| line.strip_prefix("# self-signed for "));
    let Some((name, until)) = rest.and_then(|rest| rest.split_once(" until ")) else { return false };
    name == host && UtcTime::parse(until).is_some_and(|until| now + RENEW_BEFORE < until)
}

fn make(certificate: &Path, key: &Path, host: &str, listen: IpAddr, now: UtcTime) -> Result<(), BadFile> {
    let problem = |error: rcgen::Error| failed(certificate, &error);
    let pair = KeyPair::generate().map_err(problem)?;
    let mut params = CertificateParams::new(names(host, listen)).map_err(problem)?;
    let until = now + LIFE;
    // A day back: the clock of a client, or of a box without a battery, may be behind.
    let eve = now - Duration::from_secs(24 * 3600);
    params.not_before = midnight!(eve);
    params.not_after = midnight!(until);
    params.distinguished_name.push(DnType::CommonName, host);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let signed = params.self_signed(&pair).map_err(problem)?;
    // Without its certificate a new key is recognised as half a pair, should this be cut off in between.
    match std::fs::remove_file(certificate) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(certificate, &error)),
        _ => {}
    }
    write_private(key, pair.serialize_pem().as_bytes()).map_err(|error| failed(key, &error))?;
    let text = label(host, until) + &signed.pem();
    write_private(certificate, text.as_bytes()).map_err(|error| failed(certificate, &error))
}

fn names(host: &str, listen: IpAddr) -> Vec<String> {
    let mut names = BTreeSet::from([host.to_owned(), LOCAL_NAME.to_owned(), "localhost".to_owned()]);
    names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    let addresses = if listen.is_unspecified() { local_addresses() } else { vec![listen] };
    names.extend(addresses.iter().map(ToString::to_string));
    names.into_iter().collect()
}

/// Addresses of this host as the kernel lists them, without loopback and link-local ones.
fn local_addresses() -> Vec<IpAddr> {
    let v4 = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut found: Vec<IpAddr> = v4_addresses(&v4).into_iter().chain(v6_addresses(&v6)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// An address line is followed by `/32 host LOCAL` when it is the host's own.
fn v4_addresses(fib_trie: &str) -> Vec<IpAddr> {
    let lines: Vec<&str> = fib_trie.lines().map(str::trim).collect();
    let own = lines.windows(2).filter(|pair| pair[1] == "/32 host LOCAL");
    own.filter_map(|pair| pair[0].strip_prefix("|-- ")?.parse::<IpAddr>().ok())
        .filter(|address| !address.is_loopback())
        .collect()
}

/// 32 hex digits begin each line.
fn v6_addresses(if_inet6: &str) -> Vec<IpAddr> {
    let digits = if_inet6.lines().filter_map(|line| line.split(' ').next());
    digits
        .filter_map(|hex| u128::from_str_radix(hex, 16).ok())
        .map(Ipv6Addr::from)
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local())
        .map(IpAddr::V6)
        .collect()
}

/// Written beside and renamed, so that a crash leaves no half file; for the owner only.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(directory: &Path) -> Config {
        let mut config = Config::default();
        config.state.directory = directory.to_owned();
        config.organization.host = "phone.example.com".into();
        config.http.listen = "127.0.0.1:0".parse().expect("address");
        config
    }

    fn now() -> UtcTime {
        UtcTime::parse("2026-06-04T17:55:12Z").expect("time")
    }

    fn pem(config: &Config, clock: &Clock) -> String {
        let (certificate, key) = self_signed(config, clock).expect("a pair");
        assert!(key.exists());
        std::fs::read_to_string(certificate).expect("readable")
    }

    #[test]
    fn the_self_signed_pair_is_private_and_stays_until_it_runs_out() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(now());
        let first = pem(&config(folder.path()), &clock);
        for file in [CERTIFICATE_FILE, KEY_FILE] {
            let mode = std::fs::metadata(folder.path().join(file)).expect("file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        clock.advance(Duration::from_secs(700 * 24 * 3600));
        assert_eq!(pem(&config(folder.path()), &clock), first);
        clock.advance(Duration::from_secs(70 * 24 * 3600));
        assert_ne!(pem(&config(folder.path()), &clock), first);
    }

    #[test]
    fn another_host_name_makes_another_certificate() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(now());
        let first = pem(&config(folder.path()), &clock);
        let mut renamed = config(folder.path());
        renamed.organization.host = "voice.example.com".into();
        assert_ne!(pem(&renamed, &clock), first);
    }

    #[test]
    fn a_lost_half_of_the_pair_is_replaced() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(now());
        for file in [KEY_FILE, CERTIFICATE_FILE] {
            pem(&config(folder.path()), &clock);
            std::fs::remove_file(folder.path().join(file)).expect("removed");
            pem(&config(folder.path()), &clock);
        }
    }

    #[test]
    fn the_names_cover_host_lan_name_and_loopback() {
        let names = names("phone.example.com", "192.0.2.7".parse().expect("address"));
        for name in ["phone.example.com", "trunkline.local", "localhost", "127.0.0.1", "::1", "192.0.2.7"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn reads_the_kernels_address_lists() {
        let fib = "Main:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 192.0.2.0\n     /24 link UNICAST\n  |-- 192.0.2.7\n     /32 host LOCAL\n";
        assert_eq!(v4_addresses(fib), ["192.0.2.7".parse::<IpAddr>().expect("v4")]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n20010db8000000000000000000000002 04 40 00 82 eth0\nfe800000000000000000000000000001 04 40 20 80 eth0\n";
        assert_eq!(v6_addresses(inet6), ["2001:db8::2".parse::<IpAddr>().expect("v6")]);
    }
}
