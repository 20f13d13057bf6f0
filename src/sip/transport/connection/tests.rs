//! One connection over a pipe, in virtual time.

use bytes::BytesMut;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::super::{Link, Transport};
use super::*;

const OPTIONS: &[u8] = b"OPTIONS sip:a@b SIP/2.0\r\nl: 0\r\n\r\n";

const PACE: Pace = Pace {
    bytes: 2_000,
    message: Duration::from_secs(10),
    stranger: Duration::from_secs(32),
    idle: Duration::from_secs(600),
    write: Duration::from_secs(10),
    ping: Some(Duration::from_secs(100)),
    pong: Duration::from_secs(10),
    last_word: Duration::from_secs(1),
};

struct Bench {
    far: DuplexStream,
    queue: mpsc::Sender<Bytes>,
    arrivals: mpsc::Receiver<Arrival>,
    task: JoinHandle<Trouble>,
}

fn bench(side: Side) -> Bench {
    let (near, far) = tokio::io::duplex(4_096);
    let (queue, waiting) = mpsc::channel(64);
    let (sender, arrivals) = mpsc::channel(64);
    let from = Hop::new(Transport::Tcp, "192.0.2.1:4444".parse().expect("address"), Link::Connection(1));
    let task = tokio::spawn(async move { serve(near, from, side, waiting, &sender, PACE).await });
    Bench { far, queue, arrivals, task }
}

fn stranger() -> Side {
    Side::Peer(Arc::default())
}

fn known() -> Side {
    Side::Peer(Arc::new(AtomicBool::new(true)))
}

impl Bench {
    async fn send(&mut self, bytes: &[u8]) {
        self.far.write_all(bytes).await.expect("written");
    }

    async fn hear(&mut self) -> Vec<u8> {
        let mut heard = BytesMut::with_capacity(4_096);
        self.far.read_buf(&mut heard).await.expect("readable");
        heard.to_vec()
    }

    async fn message(&mut self) -> Bytes {
        match self.arrivals.recv().await {
            Some(Arrival::Message { bytes, .. }) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// How long it stands from here, and why it ends.
    async fn end(self) -> (Duration, Trouble) {
        let start = tokio::time::Instant::now();
        let trouble = self.task.await.expect("no panic");
        (start.elapsed(), trouble)
    }
}

#[tokio::test(start_paused = true)]
async fn messages_come_out_whole_and_answers_go_back() {
    let mut bench = bench(known());
    for byte in OPTIONS.iter().chain(OPTIONS) {
        bench.send(&[*byte]).await;
    }
    assert_eq!(bench.message().await, OPTIONS);
    assert_eq!(bench.message().await, OPTIONS);
    bench.queue.send("SIP/2.0 200 OK\r\n\r\n".into()).await.expect("taken");
    assert_eq!(bench.hear().await, b"SIP/2.0 200 OK\r\n\r\n");
    drop(bench.far);
    assert_eq!(bench.task.await.expect("no panic"), Trouble::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_message_must_end_in_time_however_it_trickles() {
    let mut bench = bench(known());
    bench.send(OPTIONS).await;
    let start = tokio::time::Instant::now();
    let mut last = Duration::ZERO;
    for byte in OPTIONS.iter().cycle().take(3 * OPTIONS.len() - 1) {
        sleep(Duration::from_secs(1)).await;
        if bench.far.write_all(&[*byte]).await.is_err() {
            break;
        }
        last = start.elapsed();
    }
    assert_eq!(bench.task.await.expect("no panic"), Trouble::Slow);
    // The message before does not count, and bytes do not prolong it.
    assert!(last >= Duration::from_secs(10) && last <= Duration::from_secs(12), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_half_a_minute_and_others_their_time() {
    assert_eq!(bench(stranger()).end().await, (PACE.stranger, Trouble::Idle));
    assert_eq!(bench(known()).end().await, (PACE.idle, Trouble::Idle));
    let flag = Arc::new(AtomicBool::new(false));
    let mut let_in = bench(Side::Peer(flag.clone()));
    let_in.send(OPTIONS).await;
    let_in.message().await;
    flag.store(true, Ordering::Release);
    let_in.queue.send("SIP/2.0 200 OK\r\n\r\n".into()).await.expect("taken");
    let_in.hear().await;
    assert_eq!(let_in.end().await, (PACE.stranger + PACE.idle, Trouble::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_ping_gets_its_pong() {
    let mut bench = bench(known());
    bench.send(b"\r\n").await;
    bench.send(b"\r\n\r\n\r\n").await;
    assert_eq!(bench.hear().await, b"\r\n\r\n");
    bench.send(b"\r\n\r\n").await;
    assert_eq!(bench.hear().await, b"\r\n");
}

#[tokio::test(start_paused = true)]
async fn our_pings_go_on_until_a_pong_fails_that_came_before() {
    let mut bench = bench(Side::Ours);
    let mut pings = Vec::new();
    let start = tokio::time::Instant::now();
    for answered in [false, false, true, true, false] {
        assert_eq!(bench.hear().await, b"\r\n\r\n");
        pings.push(start.elapsed().as_secs());
        if answered {
            bench.send(b"\r\n").await;
        }
    }
    let gaps: Vec<u64> = pings.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (89..=110).contains(gap)), "{gaps:?}");
    assert_eq!(bench.end().await, (PACE.pong, Trouble::Dead));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_framed_is_answered_once_and_closed() {
    let mut bench = bench(known());
    bench.send(b"OPTIONS sip:a@b SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\nxOPTIONS sip:smuggled@b SIP/2.0\r\nl: 0\r\n\r\n").await;
    let Some(Arrival::Refused { refusal, .. }) = bench.arrivals.recv().await else { panic!("refused") };
    assert_eq!(refusal.problem, "More Than One Content-Length");
    bench.queue.send("SIP/2.0 400 No\r\n\r\n".into()).await.expect("taken");
    assert_eq!(bench.hear().await, b"SIP/2.0 400 No\r\n\r\n");
    assert_eq!(bench.hear().await, b"", "closed");
    assert_eq!(bench.task.await.expect("no panic"), Trouble::Malformed);
    assert!(bench.arrivals.recv().await.is_none(), "nothing behind it is a message");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_left_and_meanwhile_heard() {
    let mut bench = bench(known());
    for _ in 0..8 {
        bench.queue.send(vec![b'x'; 1_000].into()).await.expect("taken");
    }
    bench.send(OPTIONS).await;
    assert_eq!(bench.message().await, OPTIONS);
    let (time, trouble) = bench.end().await;
    assert_eq!(trouble, Trouble::Stuck);
    assert!(time <= PACE.write + PACE.last_word);
}

#[tokio::test(start_paused = true)]
async fn another_protocol_is_closed_without_a_word() {
    for (bytes, trouble) in [(&b"\x16\x03\x01"[..], Trouble::TlsOnTcp), (b"GET / HTTP/1.1\r\n", Trouble::NotSip)] {
        let mut bench = bench(known());
        bench.send(bytes).await;
        assert_eq!(bench.hear().await, b"");
        assert_eq!(bench.task.await.expect("no panic"), trouble);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_it_ends_after_what_waits() {
    let mut bench = bench(known());
    bench.queue.send("BYE".into()).await.expect("taken");
    let (empty, _) = mpsc::channel(1);
    drop(std::mem::replace(&mut bench.queue, empty));
    assert_eq!(bench.hear().await, b"BYE");
    assert_eq!(bench.hear().await, b"");
    assert_eq!(bench.task.await.expect("no panic"), Trouble::Closed);
}
