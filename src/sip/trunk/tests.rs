#![allow(clippy::disallowed_methods)]

use super::*;

fn trunk(name: &str, host: &str, more: &str) -> TrunkConfig {
    toml::from_str(&format!("name = \"{name}\"\nhost = \"{host}\"\n{more}")).expect("valid")
}

fn trunks(configs: &[TrunkConfig]) -> Trunks {
    Trunks::new(configs)
}

fn owner(trunks: &Trunks, source: &str, user: &str) -> Option<String> {
    trunks.of_call(Transport::Udp, source.parse().expect("address"), user).map(|trunk| trunk.name.clone())
}

const FAMILIES: Families = Families { v4: true, v6: true };

#[test]
fn a_packet_belongs_to_the_trunk_of_its_source() {
    let trunks = trunks(&[
        trunk("a", "192.0.2.1", ""),
        trunk("b", "192.0.2.1:5070", ""),
        trunk("c", "pbx.example.com", "sources = [\"198.51.100.0/24\", \"2001:db8::/32\"]"),
    ]);
    assert_eq!(owner(&trunks, "192.0.2.1:5060", "").as_deref(), Some("a"));
    assert_eq!(owner(&trunks, "192.0.2.1:5070", "").as_deref(), Some("b"));
    assert_eq!(owner(&trunks, "192.0.2.1:40000", "").as_deref(), Some("a"));
    assert_eq!(owner(&trunks, "198.51.100.77:5060", "").as_deref(), Some("c"));
    assert_eq!(owner(&trunks, "[2001:db8::5]:5060", "").as_deref(), Some("c"));
    assert_eq!(owner(&trunks, "203.0.113.1:5060", ""), None);
}

#[test]
fn two_accounts_with_one_carrier_are_told_by_the_contact() {
    let account = |user: &str| format!("username = \"{user}\"\npassword = \"x\"\nregister = true");
    let trunks = trunks(&[trunk("one", "192.0.2.1", &account("1001")), trunk("two", "192.0.2.1", &account("1002"))]);
    assert_eq!(owner(&trunks, "192.0.2.1:5060", "1002").as_deref(), Some("two"));
    assert_eq!(owner(&trunks, "192.0.2.1:5060", "4930").as_deref(), Some("one"));
    assert_eq!(owner(&trunks, "192.0.2.9:5060", "1002"), None, "a name alone proves nothing");
}

#[test]
fn a_trunk_of_tls_is_known_over_tls_only() {
    let trunks = trunks(&[trunk("a", "192.0.2.1", "transport = \"tls\"")]);
    assert_eq!(owner(&trunks, "192.0.2.1:5060", ""), None);
    let source = "192.0.2.1:40000".parse().expect("address");
    assert!(trunks.of_call(Transport::Tls, source, "").is_some());
}

#[test]
fn a_named_trunk_owns_nothing_and_asks_nothing_before_it_is_found() {
    let mut trunks = trunks(&[trunk("a", "pbx.example.com", "options_seconds = 30")]);
    let wanted = trunks.wanted(FAMILIES);
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].2.host, Host::Name("pbx.example.com".into()));
    assert_eq!(owner(&trunks, "192.0.2.1:5060", ""), None);
    trunks.begin(Instant::now());
    assert_eq!(trunks.find("a").expect("known").wake_at(), None);
    trunks.located(TrunkId(0), 0, vec![Site::of(Transport::Udp, vec!["192.0.2.1:5060".parse().expect("address")])]);
    assert_eq!(owner(&trunks, "192.0.2.1:5060", "").as_deref(), Some("a"));
    assert!(trunks.find("a").expect("known").wake_at().is_some());
}

#[test]
fn hosts_and_proxy_say_where_and_host_says_who() {
    let hosts = "hosts = [{ host = \"192.0.2.7\" }, { host = \"sbc.example.com\", priority = 2 }]";
    let trunks =
        trunks(&[trunk("a", "example.com", hosts), trunk("b", "example.com", "outbound_proxy = \"192.0.2.8:5070\"")]);
    let (a, b) = (trunks.find("a").expect("known"), trunks.find("b").expect("known"));
    assert_eq!((&a.host, &b.host), (&Host::Name("example.com".into()), &Host::Name("example.com".into())));
    assert_eq!(owner(&trunks, "192.0.2.7:5060", "").as_deref(), Some("a"));
    assert_eq!(owner(&trunks, "192.0.2.8:5070", "").as_deref(), Some("b"));
    assert_eq!((a.routes(), b.routes()), (vec![], vec!["<sip:192.0.2.8:5070;lr>".to_owned()]));
    assert_eq!(trunks.wanted(FAMILIES).len(), 1, "addresses are not looked up");
}
