//! A name server on a loopback port: real DNS messages over UDP, a zone that the test writes, and it can be ended.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

type Zone = HashMap<(String, RecordType), Vec<Record>>;

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    asked: Mutex<Vec<String>>,
}

pub struct NameServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// Negative answers are good for so long, seconds.
pub const NEGATIVE: u32 = 2;

fn name(text: &str) -> Name {
    Name::from_str(&format!("{text}.")).expect("a name")
}

impl NameServer {
    pub async fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let (address, shared) = (socket.local_addr().expect("bound"), Arc::new(Shared::default()));
        let serving = tokio::spawn(serve(socket, shared.clone()));
        NameServer { address, shared, serving }
    }

    /// Nobody answers there any more.
    pub async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    fn add(&self, owner: &str, kind: RecordType, ttl: u32, data: RData) {
        let record = Record::from_rdata(name(owner), ttl, data);
        self.shared.zone.lock().expect("whole").entry((owner.to_owned(), kind)).or_default().push(record);
    }

    pub fn a(&self, owner: &str, ttl: u32, ip: [u8; 4]) {
        self.add(owner, RecordType::A, ttl, RData::A(A::from(std::net::Ipv4Addr::from(ip))));
    }

    pub fn srv(&self, owner: &str, ttl: u32, priority: u16, weight: u16, port: u16, target: &str) {
        self.add(owner, RecordType::SRV, ttl, RData::SRV(SRV::new(priority, weight, port, name(target))));
    }

    pub fn naptr(&self, owner: &str, ttl: u32, order: u16, service: &str, replacement: &str) {
        let service = service.as_bytes().into();
        let rule = NAPTR::new(order, 50, b"s".as_slice().into(), service, Box::default(), name(replacement));
        self.add(owner, RecordType::NAPTR, ttl, RData::NAPTR(rule));
    }

    /// How often that was asked, as `SRV _sip._udp.example.test`.
    pub fn asked(&self, question: &str) -> usize {
        self.shared.asked.lock().expect("whole").iter().filter(|asked| *asked == question).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4_096];
    while let Ok((length, source)) = socket.recv_from(&mut buffer).await {
        let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
        let answer = answer(&query, &shared).to_vec().expect("writable");
        let _ = socket.send_to(&answer, source).await;
    }
}

fn answer(query: &Message, shared: &Shared) -> Message {
    let question = query.queries[0].clone();
    let (owner, kind) = (question.name().to_ascii().trim_end_matches('.').to_ascii_lowercase(), question.query_type());
    shared.asked.lock().expect("whole").push(format!("{kind} {owner}"));
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.add_query(question);
    let zone = shared.zone.lock().expect("whole");
    match zone.get(&(owner.clone(), kind)) {
        Some(records) => {
            answer.add_answers(records.clone());
        }
        None => {
            if !zone.keys().any(|(known, _)| *known == owner) {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            let soa = SOA::new(name("ns.test"), name("admin.test"), 1, 60, 60, 60, NEGATIVE);
            answer.add_authority(Record::from_rdata(name("test"), NEGATIVE, RData::SOA(soa)));
        }
    }
    answer
}
