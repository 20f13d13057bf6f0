//! The syntax of single values. Each check answers with the remedy.

use std::net::{IpAddr, SocketAddr};

type Verdict = Result<(), String>;

fn verdict(good: bool, remedy: &str) -> Verdict {
    if good { Ok(()) } else { Err(remedy.to_owned()) }
}

pub(super) fn filled(text: &str) -> Verdict {
    verdict(!text.trim().is_empty(), "write a text, or leave the key out")
}

pub(super) fn socket_address(text: &str) -> Verdict {
    verdict(
        text.parse::<SocketAddr>().is_ok(),
        "write an IP address and a port, e.g. \"0.0.0.0:5060\" or \"[::]:5060\"",
    )
}

pub(super) fn loopback_address(text: &str) -> Verdict {
    verdict(
        text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()),
        "write a loopback address and a port, e.g. \"127.0.0.1:8080\": plain HTTP never leaves this machine",
    )
}

pub(super) fn address(text: &str) -> Verdict {
    verdict(text.parse::<IpAddr>().is_ok(), "write an IP address without a port, e.g. \"192.0.2.7\"")
}

pub(super) fn hours(text: &str) -> Verdict {
    text.parse::<super::Hours>().map(|_| ()).map_err(str::to_owned)
}

pub(super) fn time_zone(text: &str) -> Verdict {
    verdict(
        jiff::tz::TimeZone::get(text).is_ok(),
        "write a name of the time zone database, e.g. \"Europe/Berlin\" or \"UTC\"",
    )
}

pub(super) fn network(text: &str) -> Verdict {
    if text.parse::<ipnet::IpNet>().is_ok() {
        return Ok(());
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => Err(format!("write \"{ip}/32\" for this one address")),
        Ok(IpAddr::V6(ip)) => Err(format!("write \"{ip}/128\" for this one address")),
        Err(_) => Err("write an address range, e.g. \"192.0.2.0/24\"".into()),
    }
}

pub(super) fn name_server(text: &str) -> Verdict {
    verdict(
        super::dns::DnsServer::parse(text).is_some(),
        "write the address of a name server, e.g. \"192.168.1.1\" or \"192.168.1.1:5353\"",
    )
}

/// ITU-T E.164: one to three digits, none of which begins with 0.
pub(super) fn country_code(text: &str) -> Verdict {
    let good = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    verdict(good, "write the country code without '+' or zeros, e.g. \"49\"")
}

pub(super) fn number_rule(text: &str) -> Verdict {
    verdict(
        super::NumberRule::parse(text).is_some(),
        "write what a number begins with and what takes its place, e.g. \"+49 -> 0\" or \"-> 9\"",
    )
}

/// RFC 1123 §2.1.
pub(super) fn host_name(text: &str) -> Verdict {
    verdict(is_host_name(text), "write a host name such as \"phone.example.com\", without scheme, port or path")
}

pub(super) fn host_or_address(text: &str) -> Verdict {
    verdict(
        is_host_name(text) || text.parse::<IpAddr>().is_ok(),
        "write a host name or an IP address, without scheme or port",
    )
}

fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn trunk_host(text: &str) -> Verdict {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Err(format!("write an IPv6 address in brackets: \"[{text}]\""));
    }
    if text.starts_with("sip:") || text.starts_with("sips:") || text.contains('@') {
        return Err(
            "write only the host, e.g. \"pbx.example.com\" or \"192.0.2.7:5060\", without \"sip:\" or a user".into()
        );
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            let v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            return verdict(
                v6 && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)),
                "write \"[2001:db8::1]:5060\"",
            );
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let dotted = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let good_host = if dotted { host.parse::<std::net::Ipv4Addr>().is_ok() } else { is_host_name(host) };
    verdict(
        good_host && port.is_none_or(is_port),
        "write a host name or address with or without a port, e.g. \"pbx.example.com\" or \"192.0.2.7:5060\"",
    )
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

pub(super) fn trunk_name(text: &str) -> Verdict {
    verdict(
        (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        "write a short name of letters, digits, '-', '_' and '.', at most 64 characters",
    )
}

/// What a SIP user part may hold unescaped (RFC 3261 §25.1: unreserved and user-unreserved).
pub(super) fn sip_user(text: &str) -> Verdict {
    verdict(
        (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)),
        "write only the user part, without spaces, '@' or a host",
    )
}

/// Text that may stand in a header: one line, printable.
pub(super) fn header_text(text: &str) -> Verdict {
    verdict(
        (1..=256).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '"'),
        "write one line of text without quotation marks",
    )
}

/// A primary language and subtags (RFC 5646 in its simple form).
pub(super) fn language(text: &str) -> Verdict {
    let mut parts = text.split('-');
    let primary =
        parts.next().is_some_and(|p| (2..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|p| (2..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()));
    verdict(primary && rest, "write a language tag such as \"en-US\" or \"de-DE\"")
}

pub(super) fn language_or_call(text: &str) -> Verdict {
    if text == "call" { Ok(()) } else { language(text) }
}

/// A name in the path of a cloud service.
pub(super) fn resource(text: &str) -> Verdict {
    verdict(
        (1..=256).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(&byte)),
        "write the name as the service shows it, without spaces, e.g. \"gemini-3.8-live\"",
    )
}

/// Part of the path of a URL.
pub(super) fn account(text: &str) -> Verdict {
    verdict(
        (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "write letters and digits, at most 64, such as \"AC\" and 32 digits",
    )
}

pub(super) fn web_address(text: &str) -> Verdict {
    let good = text
        .parse::<hyper::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if good && text.trim_end_matches('/').ends_with("/chat/completions") {
        return Err("leave out \"/chat/completions\" at the end".into());
    }
    verdict(good, "write a complete address, e.g. \"http://192.0.2.20:11434/v1\"")
}

/// A WebSocket's URL (RFC 6455 §3); credentials belong into a setting that is kept secret.
pub(super) fn web_socket(text: &str) -> Verdict {
    let good = text.parse::<hyper::Uri>().is_ok_and(|uri| {
        let authority = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("ws" | "wss")) && authority
    });
    verdict(good && !text.contains('#'), "write a complete address, e.g. \"wss://bot.example/calls\"")
}

pub(super) fn mailbox(text: &str) -> Verdict {
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or(""),
        None => text,
    };
    let good = address.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && is_host_name(host) && !address.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    verdict(good, "write an e-mail address, e.g. \"calls@example.com\"")
}

/// `+` and digits, or digits.
pub(super) fn dial_prefix(text: &str) -> Verdict {
    let digits = text.strip_prefix('+').unwrap_or(text);
    verdict(
        (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        "write the beginning of a number, e.g. \"+4930\" or \"1\", digits only after an optional '+'",
    )
}

/// E.164 with `+`, or a short number of 2 to 15 digits.
pub(super) fn phone_number(text: &str) -> Verdict {
    let good = match text.strip_prefix('+') {
        Some(digits) => {
            (7..=15).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_digit())
                && !digits.starts_with('0')
        }
        None => (2..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    };
    verdict(good, "write a number such as \"+4930123456\" or a short number such as \"1234\", without spaces")
}

/// `^[a-z0-9][a-z0-9_-]{0,63}$`
pub(super) fn slug(text: &str) -> Verdict {
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
        && !text.starts_with(['_', '-']);
    verdict(good, "write 1 to 64 of a-z, 0-9, '_' and '-', beginning with a letter or digit, e.g. \"reminder\"")
}

/// `^[a-z][a-z0-9_]{0,63}$`: what every service takes as the name of a function.
pub(super) fn tool_name(text: &str) -> Verdict {
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && text.starts_with(|first: char| first.is_ascii_lowercase());
    verdict(good, "write 1 to 64 of a-z, 0-9 and '_', beginning with a letter, e.g. \"order_status\"")
}

/// Where a tool is; credentials belong into a header, which is kept secret.
pub(super) fn tool_address(text: &str) -> Verdict {
    let good = text.parse::<hyper::Uri>().is_ok_and(|uri| {
        let authority = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        matches!(uri.scheme_str(), Some("http" | "https")) && authority
    });
    verdict(good && !text.contains('#'), "write a complete address, e.g. \"https://crm.example/orders\"")
}

/// The text that a caller gets on the telephone.
pub(super) fn link(text: &str) -> Verdict {
    verdict(
        text.contains("{reference}") && text.contains("https://") && text.len() <= 500,
        "write a text with a link, e.g. \"Pay here: https://pay.example/{reference}\"",
    )
}

pub(super) fn log_level(text: &str) -> Verdict {
    let plain = matches!(text, "error" | "warn" | "info" | "debug" | "trace" | "off");
    let filter = text.contains(['=', ',']) && tracing_subscriber::EnvFilter::try_new(text).is_ok();
    verdict(
        plain || filter,
        "write error, warn, info, debug or trace, or a filter such as \"info,trunkline::sip=debug\"",
    )
}
