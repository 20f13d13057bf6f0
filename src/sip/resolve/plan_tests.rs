use std::collections::HashMap;

use super::*;

#[derive(Default)]
struct Zone(HashMap<Question, Reply>);

impl Zone {
    fn naptr(mut self, name: &str, rules: &[(u16, u16, &str, &str)]) -> Zone {
        let rules = rules.iter().map(|(order, preference, service, replacement)| Naptr {
            order: *order,
            preference: *preference,
            flags: "S".into(),
            service: (*service).into(),
            replacement: (*replacement).into(),
        });
        let answer = Answer::Naptr(rules.collect());
        self.0.insert(Question::new(name, Kind::Naptr), Reply::Said(answer));
        self
    }

    fn srv(mut self, name: &str, records: &[(u16, u16, u16, &str)]) -> Zone {
        let records = records.iter().map(|(priority, weight, port, target)| Srv {
            priority: *priority,
            weight: *weight,
            port: *port,
            target: crate::sip::resolve::record::plain(target),
        });
        let answer = Answer::Srv(records.collect());
        self.0.insert(Question::new(name, Kind::Srv), Reply::Said(answer));
        self
    }

    fn a(mut self, name: &str, ips: &[&str]) -> Zone {
        let ips = ips.iter().map(|ip| ip.parse().expect("address")).collect();
        self.0.insert(Question::new(name, Kind::A), Reply::Said(Answer::Addresses(ips)));
        self
    }

    fn silent(mut self, name: &str, kind: Kind) -> Zone {
        self.0.insert(Question::new(name, kind), Reply::Silent);
        self
    }

    /// All that the zone does not hold does not exist; the questions are noted.
    fn locate(&self, wanted: &Wanted) -> (Step, Vec<String>) {
        let mut known: HashMap<Question, Reply> = HashMap::new();
        let mut asked = Vec::new();
        for _ in 0..8 {
            let questions = match step(wanted, &|question| known.get(question).cloned()) {
                Step::Ask(questions) => questions,
                done => return (done, asked),
            };
            for question in questions {
                asked.push(format!("{:?} {}", question.kind, question.name));
                let reply = self.0.get(&question).cloned().unwrap_or(Reply::Said(Answer::Nothing));
                assert!(known.insert(question, reply).is_none(), "nothing is asked twice");
            }
        }
        panic!("no end");
    }
}

fn wanted(host: &str) -> Wanted {
    let (host, port) = Host::parse_with_port(host).expect("a host");
    Wanted { host, port, transport: None, secure: false, families: Families { v4: true, v6: false } }
}

fn servers(step: &Step) -> Vec<String> {
    let Step::Found(sites) = step else { panic!("{step:?}") };
    let mut sites: Vec<&Site> = sites.iter().collect();
    sites.sort_by_key(|site| site.rank);
    let shown = |site: &&Site| site.addresses.iter().map(|at| format!("{:?} {at}", site.transport)).collect::<Vec<_>>();
    sites.iter().flat_map(shown).collect()
}

#[test]
fn an_address_and_a_port_are_taken_as_they_are() {
    let zone = Zone::default().a("pbx.test", &["192.0.2.1", "192.0.2.2"]);
    let (found, asked) = zone.locate(&wanted("192.0.2.9"));
    assert_eq!((servers(&found), asked.len()), (vec!["Udp 192.0.2.9:5060".to_owned()], 0));
    let tls = Wanted { transport: Some(Transport::Tls), ..wanted("192.0.2.9") };
    assert_eq!(servers(&zone.locate(&tls).0), ["Tls 192.0.2.9:5061"]);
    let (found, asked) = zone.locate(&wanted("PBX.test:5080"));
    assert_eq!(servers(&found), ["Udp 192.0.2.1:5080", "Udp 192.0.2.2:5080"]);
    assert_eq!(asked, ["A pbx.test"], "a port forbids NAPTR and SRV");
}

#[test]
fn naptr_leads_to_srv_leads_to_addresses() {
    let zone = Zone::default()
        .naptr(
            "example.com",
            &[
                (90, 50, "SIP+D2U", "_sip._udp.example.com."),
                (50, 60, "SIP+D2T", "_sip._tcp.example.com"),
                (50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
                (10, 10, "E2U+email", "mail.example.com"),
            ],
        )
        .srv("_sips._tcp.example.com", &[(1, 0, 5061, "s1.example.com")])
        .srv("_sip._tcp.example.com", &[(2, 0, 5070, "s2.example.com"), (1, 0, 5060, "S1.example.com")])
        .srv("_sip._udp.example.com", &[(0, 0, 5062, "s2.example.com")])
        .a("s1.example.com", &["192.0.2.1"])
        .a("s2.example.com", &["192.0.2.2"]);
    let (found, asked) = zone.locate(&wanted("example.com"));
    let best_first = ["Tls 192.0.2.1:5061", "Tcp 192.0.2.1:5060", "Tcp 192.0.2.2:5070", "Udp 192.0.2.2:5062"];
    assert_eq!(servers(&found), best_first);
    assert_eq!(asked.len(), 6, "one NAPTR, three SRV, two A: {asked:?}");
}

#[test]
fn without_naptr_each_transport_is_asked_for_and_without_srv_the_address() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", &[(1, 0, 5060, "s1.example.com")])
        .a("s1.example.com", &["192.0.2.1"])
        .a("plain.test", &["192.0.2.7"]);
    let (found, asked) = zone.locate(&wanted("example.com"));
    assert_eq!(servers(&found), ["Tcp 192.0.2.1:5060"]);
    assert!(!asked.contains(&"A example.com".to_owned()), "{asked:?}");
    assert_eq!(servers(&zone.locate(&wanted("plain.test")).0), ["Udp 192.0.2.7:5060"]);
    let tcp = Wanted { transport: Some(Transport::Tcp), ..wanted("plain.test") };
    let (found, asked) = zone.locate(&tcp);
    assert_eq!(servers(&found), ["Tcp 192.0.2.7:5060"]);
    assert_eq!(asked, ["Srv _sip._tcp.plain.test", "A plain.test"], "a transport that is asked for needs no NAPTR");
}

#[test]
fn sips_is_satisfied_with_tls_only() {
    let zone = Zone::default()
        .naptr("example.com", &[(1, 1, "SIP+D2U", "_sip._udp.example.com")])
        .srv("_sip._udp.example.com", &[(0, 0, 5060, "s.example.com")])
        .a("s.example.com", &["192.0.2.1"])
        .a("example.com", &["192.0.2.5"]);
    let secure = Wanted { secure: true, ..wanted("example.com") };
    assert_eq!(servers(&zone.locate(&secure).0), ["Tls 192.0.2.5:5061"]);
    let impossible = Wanted { transport: Some(Transport::Udp), ..secure };
    assert_eq!(zone.locate(&impossible).0, Step::Lost(Lost::NoTransport));
}

#[test]
fn a_service_that_is_not_offered_is_not_replaced_by_the_address() {
    let zone = Zone::default().srv("_sip._udp.example.com", &[(0, 0, 0, ".")]).a("example.com", &["192.0.2.5"]);
    let udp = Wanted { transport: Some(Transport::Udp), ..wanted("example.com") };
    assert_eq!(zone.locate(&udp).0, Step::Lost(Lost::NoTransport));
}

#[test]
fn what_cannot_be_found_is_told_from_dns_that_is_silent() {
    assert_eq!(Zone::default().locate(&wanted("nowhere.test")).0, Step::Lost(Lost::NoSuchName));
    let silent = Zone::default().silent("dead.test", Kind::A);
    assert_eq!(silent.locate(&wanted("dead.test:5060")).0, Step::Lost(Lost::Silent));
    let old_router = Zone::default().silent("pbx.test", Kind::Naptr).a("pbx.test", &["192.0.2.1"]);
    assert_eq!(servers(&old_router.locate(&wanted("pbx.test")).0), ["Udp 192.0.2.1:5060"]);
    let v6 = Wanted { families: Families { v4: true, v6: false }, ..wanted("[2001:db8::1]") };
    assert_eq!(Zone::default().locate(&v6).0, Step::Lost(Lost::WrongFamily));
}

#[test]
fn an_answer_without_end_is_cut() {
    let many: Vec<(u16, u16, u16, &str)> = (0..1000).map(|at| (at, 0, 5060, "s.test")).collect();
    let ips: Vec<String> = (0..200).map(|at| format!("192.0.2.{at}")).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let zone = Zone::default().srv("_sip._udp.test", &many).a("s.test", &ips);
    let udp = Wanted { transport: Some(Transport::Udp), ..wanted("test") };
    let Step::Found(sites) = zone.locate(&udp).0 else { panic!("found") };
    assert_eq!((sites.len(), sites[0].addresses.len()), (MAX_RECORDS, MAX_ADDRESSES));
}
