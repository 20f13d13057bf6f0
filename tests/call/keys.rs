//! Keys: those that the box presses, in the way of the trunk, and those that come twice.

use crate::call_support::{CALLEE, Talk, within};
use crate::transfer::{CALLER_HZ, PERSON_HZ, Scene};
use trunkline::call::{Keys, KeysError, LiveFact, TransferMode};
use trunkline::media::dtmf::ToneListener;
use trunkline::sip::endpoint::CallEvent;

async fn press(scene: &Scene, keys: &str) -> Result<(), KeysError> {
    let keys = Keys::parse(keys).expect("keys");
    scene.gateway.calls.press(scene.gateway.organization, scene.call.id, keys).await
}

async fn info_key(talk: &mut Talk) -> char {
    within("an INFO", async {
        loop {
            if let CallEvent::Key(key) = talk.events.recv().await.expect("the call is up") {
                return key;
            }
        }
    })
    .await
}

/// Waits for the tones of `keys` in what the phone hears.
async fn hears_tones(talk: &Talk, keys: &str) {
    within("tones", async {
        loop {
            let heard = talk.sound.heard.lock().expect("unharmed").clone();
            let mut listener = ToneListener::new(8_000);
            let found: String = heard.chunks(160).filter_map(|frame| listener.hear(frame, 8_000)).collect();
            assert!(keys.starts_with(&found), "{found:?}");
            if found == keys {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

async fn ends(scene: Scene) {
    scene.caller.control.hang_up();
    scene.gateway.finished(scene.call.id).await;
    assert_eq!(press(&scene, "1").await, Err(KeysError::NotLive));
    let nobody = scene.gateway.calls.press(uuid::Uuid::nil(), scene.call.id, Keys::parse("1").expect("a key"));
    assert_eq!(nobody.await, Err(KeysError::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_box_go_as_events_where_they_were_agreed() {
    for keys in ["", "dtmf = \"rfc4733\""] {
        let mut scene = Scene::talking("echo", "", keys).await;
        assert_eq!(press(&scene, "42#").await, Ok(()));
        let mut got = String::new();
        while got.len() < 3 {
            got.push(scene.caller.gets_key().await);
        }
        assert_eq!(got, "42#");
        ends(scene).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_box_sound_where_the_trunk_says_so_or_the_phone_knows_no_events() {
    let inband = Scene::talking("echo", "", "dtmf = \"inband\"").await;
    let auto = Scene::offering("echo", "", "", |offer| offer.events.clear()).await;
    for scene in [inband, auto] {
        assert_eq!(press(&scene, "17*").await, Ok(()));
        hears_tones(&scene.caller, "17*").await;
        ends(scene).await;
    }
    let strict = Scene::offering("echo", "", "dtmf = \"rfc4733\"", |offer| offer.events.clear()).await;
    assert_eq!(press(&strict, "1").await, Err(KeysError::NoWay));
    ends(strict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_box_and_of_the_person_go_by_info_where_the_trunk_says_so() {
    let mut scene = Scene::talking("echo", "", "dtmf = \"info\"").await;
    assert_eq!(press(&scene, "90d").await, Ok(()));
    for key in ['9', '0', 'D'] {
        assert_eq!(info_key(&mut scene.caller).await, key);
    }
    scene.order(CALLEE, TransferMode::Bridge, None).await.expect("begun");
    let mut person = scene.person.pick_up().await;
    person.hum(PERSON_HZ);
    scene.caller.hears_tone(PERSON_HZ).await;
    person.hears_tone(CALLER_HZ).await;
    person.press("6");
    assert_eq!(info_key(&mut scene.caller).await, '6');
    scene.caller.control.press('3');
    assert_eq!(info_key(&mut person).await, '3');
    ends(scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_comes_by_info_and_in_the_stream_counts_once() {
    let scene = Scene::talking("echo", "", "").await;
    let mut facts = scene.gateway.calls.watch();
    let mut next = async || {
        within("a key", async {
            loop {
                if let LiveFact::Key(key) = facts.recv().await.expect("a fact").what {
                    return key;
                }
            }
        })
        .await
    };
    // The signalling is the faster.
    scene.caller.control.press('7');
    assert_eq!(next().await, '7');
    scene.caller.press("7");
    scene.caller.press("8");
    assert_eq!(next().await, '8', "the other 7 was the same");
    // The stream is the faster.
    scene.caller.control.press('8');
    scene.caller.control.press('9');
    assert_eq!(next().await, '9', "the other 8 was the same");
    // Twice the same key is twice the key.
    scene.caller.press("955");
    scene.caller.control.press('5');
    scene.caller.control.press('5');
    assert_eq!((next().await, next().await), ('5', '5'));
    scene.caller.press("#");
    assert_eq!(next().await, '#', "and not more");
    ends(scene).await;
}
