//! Keys that contradict each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use super::cross_agents;
use super::load::Notes;
use super::tree::{Entries, whole};

pub(super) fn check(notes: &mut Notes<'_, '_>) {
    certificate_pair(notes);
    listeners(notes);
    session_timer(notes);
    sip_tls(notes);
    media_ports(notes);
    mail(notes);
    engine(notes);
    trace(notes);
    trunks(notes);
    cross_agents::check(notes);
    let named = [("trunk", "name"), ("extension", "user"), ("number", "name"), ("prompt", "slug")];
    for (section, key) in named.into_iter().chain([("agents", "name"), ("tools", "name")]) {
        unique(notes, section, key, str::to_owned);
    }
    unique(notes, "number", "number", same_number);
}

/// `entries` has `key` but not `other`.
pub(super) fn needs(notes: &mut Notes<'_, '_>, section: &str, entries: Entries<'_, '_>, key: &str, other: &str) {
    if let (Some(place), false) = (entries.place(key), entries.has(other)) {
        notes.add(
            &place,
            &format!("{section}.{key}"),
            format!("stands without `{other}`"),
            format!("add `{other} = …`, or remove `{key}`"),
        );
    }
}

/// `key` is on, but what it needs is not there.
fn only_with(
    notes: &mut Notes<'_, '_>,
    section: &str,
    entries: Entries<'_, '_>,
    key: &str,
    met: impl Fn(Entries<'_, '_>) -> bool,
    other: &str,
) {
    if let (Some(place), Some(true), false) = (entries.place(key), entries.flag(key), met(entries)) {
        let remedy = format!("add `{other} = …`, or remove `{key}`");
        notes.add(&place, &format!("{section}.{key}"), format!("needs `{other}`"), remedy);
    }
}

fn certificate_pair(notes: &mut Notes<'_, '_>) {
    let Some(http) = notes.tree.section("http") else { return };
    needs(notes, "http", http, "certificate", "key");
    needs(notes, "http", http, "key", "certificate");
}

fn engine(notes: &mut Notes<'_, '_>) {
    let Some(engine) = notes.tree.section("engine") else { return };
    if engine.text("kind") == Some("media-stream") {
        needs(notes, "engine", engine, "kind", "media_stream");
    }
    if engine.text("kind") == Some("openai") {
        needs(notes, "engine", engine, "kind", "openai");
    }
    if engine.text("kind") == Some("openai-live") {
        needs(notes, "engine", engine, "kind", "openai_live");
    }
    if let Some(live) = engine.section("openai_live") {
        needs(notes, "engine.openai_live", live, "key_field", "api_key");
    }
    if let Some(bot) = engine.section("media_stream") {
        media_stream(notes, bot);
    }
    if let Some(openai) = engine.section("openai") {
        needs(notes, "engine.openai", openai, "key_field", "api_key");
    }
    if engine.text("kind") == Some("gemini") {
        needs(notes, "engine", engine, "kind", "gemini");
    }
    gemini(notes, engine);
}

/// The token hangs up for an account, and signs as Twilio does.
fn media_stream(notes: &mut Notes<'_, '_>, bot: Entries<'_, '_>) {
    let name = "engine.media_stream";
    if let (Some(place), Some("telnyx" | "plivo")) = (bot.place("auth_token"), bot.text("dialect")) {
        let problem =
            "means nothing in this dialect: neither is a connection signed so, nor can its bots hang up with it";
        notes.add(&place, &format!("{name}.auth_token"), problem, "remove it, or write `dialect = \"twilio\"`");
    }
}

/// One account, and a version that it knows.
fn gemini(notes: &mut Notes<'_, '_>, engine: Entries<'_, '_>) {
    let name = "engine.gemini";
    let Some(gemini) = engine.section("gemini") else { return };
    let model = gemini.place("model").unwrap_or_default();
    match (gemini.place("api_key"), gemini.section("vertex")) {
        // A proxy on the way may hold the key.
        (None, None) if gemini.has("url") => {}
        (None, None) => {
            let remedy = "add `api_key = …` (Gemini API), or a section [engine.gemini.vertex] (Vertex AI)";
            notes.add(&model, name, "has no account", remedy);
        }
        (Some(place), Some(_)) => {
            let problem = "stands beside the account of Vertex AI";
            notes.add(&place, "engine.gemini.api_key", problem, "remove one of the two");
        }
        (_, Some(vertex)) if vertex.has("token") == vertex.has("token_file") => {
            let place = gemini.place("vertex").unwrap_or_default();
            let remedy = "write either `token = …` or `token_file = …`, which is read for every connection";
            notes.add(&place, "engine.gemini.vertex", "needs one OAuth token", remedy);
        }
        _ => {}
    }
    let vertex = gemini.has("vertex");
    if let (Some(place), Some(version)) = (gemini.place("version"), gemini.text("version"))
        && ((vertex && version == "v1alpha") || (!vertex && version == "v1beta1"))
    {
        let remedy = if vertex { "write \"v1beta1\" or \"v1\"" } else { "write \"v1beta\", \"v1\" or \"v1alpha\"" };
        notes.add(&place, "engine.gemini.version", "is none of this service's", remedy);
    }
    for key in ["compression_trigger", "compression_target"] {
        if let (Some(place), Some(false)) = (gemini.place(key), gemini.flag("compression")) {
            let remedy = format!("write `compression = true`, or remove `{key}`");
            notes.add(&place, &format!("{name}.{key}"), "means nothing without compression", remedy);
        }
    }
}

fn listeners(notes: &mut Notes<'_, '_>) {
    let Some(http) = notes.tree.section("http") else { return };
    let (Some(https), Some(plain)) = (http.socket_address("listen"), http.socket_address("plain_listen")) else {
        return;
    };
    let overlap = https.ip() == plain.ip() || https.ip().is_unspecified();
    if overlap && https.port() == plain.port() && plain.port() != 0 {
        let place = http.place("plain_listen").unwrap_or_default();
        notes.add(&place, "http.plain_listen", "is the port of `listen`", "give plain HTTP another port, e.g. 8080");
    }
}

fn sip_tls(notes: &mut Notes<'_, '_>) {
    let Some(sip) = notes.tree.section("sip") else { return };
    needs(notes, "sip", sip, "certificate", "key");
    needs(notes, "sip", sip, "key", "certificate");
    if !sip.has("tls_listen") {
        needs(notes, "sip", sip, "client_ca", "tls_listen");
    }
    let Some(tls) = sip.socket_address("tls_listen") else { return };
    let plain = sip.socket_address("tcp_listen").or_else(|| sip.socket_address("listen"));
    if plain.map_or(5060, |plain| plain.port()) == tls.port() && tls.port() != 0 {
        let place = sip.place("tls_listen").unwrap_or_default();
        notes.add(&place, "sip.tls_listen", "is the port of plain TCP", "give TLS another port, e.g. 5061");
    }
}

/// Keys that mean something over TLS only, and the pair that we show.
fn trunk_tls(notes: &mut Notes<'_, '_>, name: &str, trunk: Entries<'_, '_>) {
    needs(notes, name, trunk, "certificate", "key");
    needs(notes, name, trunk, "key", "certificate");
    if matches!(trunk.text("transport"), Some("tls" | "auto")) {
        return;
    }
    for key in ["ca", "tls_name", "certificate"] {
        if let Some(place) = trunk.place(key) {
            let remedy = format!("add `transport = \"tls\"`, or remove `{key}`");
            notes.add(&place, &format!("{name}.{key}"), "means nothing without TLS", remedy);
        }
    }
}

fn media_ports(notes: &mut Notes<'_, '_>) {
    let tree = notes.tree;
    let Some(media) = tree.section("media") else { return };
    let Some(ports) = media.value("ports").and_then(|value| value.get_ref().as_array()) else { return };
    let sip = tree.section("sip").and_then(|sip| sip.socket_address("listen")).map_or(5060, |address| address.port());
    if let [Some(first), Some(last)] = ports.iter().map(|port| whole(port.get_ref())).collect::<Vec<_>>()[..]
        && (first..=last).contains(&i64::from(sip))
    {
        let place = media.place("ports").unwrap_or_default();
        let problem = format!("holds the SIP port {sip}");
        notes.add(&place, "media.ports", problem, "choose a range without the port of [sip] listen");
    }
}

/// RFC 4028 §4 knows no shorter one; 0 is none at all.
fn session_timer(notes: &mut Notes<'_, '_>) {
    let Some(sip) = notes.tree.section("sip") else { return };
    let seconds = sip.value("session_expires_seconds").and_then(|value| whole(value.get_ref()));
    if seconds.is_some_and(|seconds| (1..90).contains(&seconds)) {
        let place = sip.place("session_expires_seconds").unwrap_or_default();
        notes.add(&place, "sip.session_expires_seconds", "is shorter than 90", "write 90 or more, or 0 for none");
    }
}

fn mail(notes: &mut Notes<'_, '_>) {
    let Some(mail) = notes.tree.section("mail") else { return };
    needs(notes, "mail", mail, "username", "password");
    needs(notes, "mail", mail, "password", "username");
    let local = mail.text("host").is_none_or(|host| {
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    if mail.text("security") == Some("none") && !local {
        let place = mail.place("security").unwrap_or_default();
        notes.add(
            &place,
            "mail.security",
            "would send transcripts and passwords unprotected over the network",
            "write \"starttls\" or \"tls\"; \"none\" is only for a relay on this machine",
        );
    }
}

fn trace(notes: &mut Notes<'_, '_>) {
    let Some(trace) = notes.tree.section("trace") else { return };
    needs(notes, "trace", trace, "hep_id", "hep");
    needs(notes, "trace", trace, "hep_password", "hep");
}

fn trunks(notes: &mut Notes<'_, '_>) {
    for (at, (_, trunk)) in notes.tree.many("trunk").into_iter().enumerate() {
        let name = format!("trunk[{}]", at + 1);
        needs(notes, &name, trunk, "username", "password");
        needs(notes, &name, trunk, "password", "username");
        only_with(notes, &name, trunk, "register", |trunk| trunk.has("username"), "username");
        let national = |trunk: Entries<'_, '_>| trunk.text("number_format") == Some("national");
        if national(trunk) && !trunk.has("country") {
            let place = trunk.place("number_format").unwrap_or_default();
            let key = format!("{name}.number_format");
            notes.add(&place, &key, "needs the country", "add `country = \"49\"`, the code of the trunk's country");
        }
        trunk_tls(notes, &name, trunk);
        trunk_srtp(notes, &name, trunk);
    }
    extensions_srtp(notes);
    for (at, (_, number)) in notes.tree.many("number").into_iter().enumerate() {
        needs(notes, &format!("number[{}]", at + 1), number, "transfer_whisper", "transfer_to");
    }
    let Some(dial) = notes.tree.section("dial") else { return };
    if dial.flag("fixed") == Some(true) && !dial.has("allow") {
        let place = dial.place("fixed").unwrap_or_default();
        notes.add(
            &place,
            "dial.fixed",
            "forbids every call: only the prefixes in `allow` may be dialled, and there are none",
            "add `allow = [\"+49…\"]`, or remove `fixed`",
        );
    }
}

/// A phone that must have keys signs in over TLS.
fn extensions_srtp(notes: &mut Notes<'_, '_>) {
    let tls = notes.tree.section("sip").is_some_and(|sip| sip.has("tls_listen"));
    for (at, (_, extension)) in notes.tree.many("extension").into_iter().enumerate() {
        if !tls && extension.text("srtp") == Some("required") {
            let place = extension.place("srtp").unwrap_or_default();
            let key = format!("extension[{}].srtp", at + 1);
            let remedy = "add `tls_listen = \"0.0.0.0:5061\"` to [sip], or write \"offered\"";
            notes.add(&place, &key, "lets no call through: phones cannot sign in over TLS", remedy);
        }
    }
}

/// Keys for the sound stand in the session description: whoever reads it can listen.
fn trunk_srtp(notes: &mut Notes<'_, '_>, name: &str, trunk: Entries<'_, '_>) {
    let wanted = matches!(trunk.text("srtp"), Some("offered" | "required"));
    if wanted && trunk.text("transport") != Some("tls") && trunk.flag("srtp_over_plain") != Some(true) {
        let place = trunk.place("srtp").unwrap_or_default();
        notes.add(
            &place,
            &format!("{name}.srtp"),
            "would send its keys unprotected over the network",
            "add `transport = \"tls\"`, or `srtp_over_plain = true` where the way to the trunk is protected otherwise",
        );
    }
}

/// The same number in its written forms: `+49…`, `0049…`, `49…`.
fn same_number(text: &str) -> String {
    text.strip_prefix('+').or_else(|| text.strip_prefix("00")).unwrap_or(text).to_owned()
}

fn unique(notes: &mut Notes<'_, '_>, section: &str, key: &str, same: impl Fn(&str) -> String) {
    let mut seen: HashMap<String, Range<usize>> = HashMap::new();
    for (at, (_, entries)) in notes.tree.many(section).into_iter().enumerate() {
        let (Some(text), Some(place)) = (entries.text(key), entries.place(key)) else { continue };
        if let Some(first) = seen.get(&same(text)) {
            let problem = format!("{text:?} stands already in line {}", notes.tree.line(first));
            notes.add(&place, &format!("{section}[{}].{key}", at + 1), problem, "give each its own, or remove one");
        } else {
            seen.insert(same(text), place);
        }
    }
}
