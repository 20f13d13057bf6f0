//! What is handed on without decoding.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::media_stage::*;
use trunkline::media::{Codec, HeardFrame, Peer, Playout};

/// Frames with their payload: made up, and as it came.
type Notes = Arc<Mutex<Vec<(bool, Option<Vec<u8>>)>>>;

struct Clerk(Notes);

impl Peer for Clerk {
    fn heard(&mut self, frame: HeardFrame<'_>, _: &mut dyn Playout) {
        let payload = frame.encoded.map(|(_, octets)| octets.to_vec());
        self.0.lock().expect("unharmed").push((frame.concealed, payload));
    }

    fn key(&mut self, _: char, _: &mut dyn Playout) {}
    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, _: &mut Context<'_>, _: &mut dyn Playout) -> Poll<()> {
        Poll::Pending
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_goes_on_as_it_came_unless_it_is_blended_with_a_stand_in_before_it() {
    let plane = plane();
    let leg = open(&plane).await;
    let mut phone = Phone::new(&leg).await;
    let notes = Notes::default();
    let clerk = notes.clone();
    leg.control.attach(Box::new(move || Box::new(Clerk(clerk))));
    leg.control.connect(remote(phone.port, Codec::Pcmu));
    phone.speak(300.0, 20).await;
    phone.skip();
    phone.speak(300.0, 20).await;
    within_patience(|| notes.lock().expect("unharmed").len() >= 40).await;
    let notes = notes.lock().expect("unharmed").clone();
    for (n, pair) in notes.windows(2).enumerate() {
        let ((stood_in, before), (concealed, payload)) = (&pair[0], &pair[1]);
        assert_eq!(payload.is_none(), *concealed || *stood_in, "frame {n}: {before:?}, {payload:?}");
    }
    assert!(notes.iter().any(|(concealed, _)| *concealed), "a frame was lost");
    plane.stop().await;
}
