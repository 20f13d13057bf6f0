//! Messages as the services document them, and what becomes of them.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use super::*;
use crate::ai::engine::Audio;
use crate::ai::remote::Order;

fn codec_of(dialect: MediaStreamDialect) -> Codec {
    let names = Names::new(dialect, None, Uuid::from_bytes([3; 16]), [[1; 16], [2; 16]]);
    Codec::new(dialect, names)
}

fn codec() -> Codec {
    codec_of(MediaStreamDialect::Twilio)
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> serde_json::Value {
    let mut out = b"before".to_vec();
    write(&mut out);
    serde_json::from_slice(&out[6..]).expect("JSON")
}

#[test]
fn the_stream_begins_and_goes_on_as_the_service_describes_it() {
    let (mut codec, now) = (codec(), Instant::now());
    let stream = format!("MZ{}", "01".repeat(16));
    let about = [("phone".to_owned(), "+49 \"30\"".to_owned())];
    assert_eq!(
        written(|out| codec.start(&about, now, out)),
        serde_json::json!({"event": "start", "sequenceNumber": "1", "streamSid": stream, "start": {
            "accountSid": format!("AC{}", "02".repeat(16)), "streamSid": stream,
            "callSid": format!("CA{}", "03".repeat(16)), "tracks": ["inbound"],
            "customParameters": {"phone": "+49 \"30\""},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}}})
    );
    let octets: Vec<u8> = (0..160).collect();
    assert_eq!(
        written(|out| codec.media(&octets, now + Duration::from_millis(1_234), out)),
        serde_json::json!({"event": "media", "sequenceNumber": "2", "streamSid": stream, "media": {
            "track": "inbound", "chunk": "1", "timestamp": "1234", "payload": STANDARD.encode(&octets)}})
    );
    let media = written(|out| codec.media(&[0xFF; 7], now, out));
    assert_eq!((&media["media"]["chunk"], &media["media"]["payload"]), (&"2".into(), &"/////////w==".into()));
    assert_eq!(written(|out| codec.key('#', out))["dtmf"], serde_json::json!({"track": "inbound_track", "digit": "#"}));
    assert_eq!(written(|out| codec.mark("a\"b", out))["mark"], serde_json::json!({"name": "a\"b"}));
    let stop = written(|out| codec.stop(out));
    assert_eq!((&stop["event"], &stop["sequenceNumber"]), (&"stop".into(), &"6".into()));
    assert_eq!(stop["stop"]["callSid"], format!("CA{}", "03".repeat(16)));
}

#[test]
fn what_the_bot_says_is_read_and_what_is_broken_is_named() {
    let codec = codec();
    let read = |text: &str| codec.read(text, vec![9; 3]);
    assert_eq!(read(r#"{"event":"media","media":{"payload":"AAEC/w=="}}"#), Ok(Said::Media(vec![0, 1, 2, 255])));
    assert_eq!(read(r#"{"media":{"payload":"AA\u003d=","x":[1,{}]},"event":"media"}"#), Ok(Said::Media(vec![0])));
    assert_eq!(read(r#"{"event":"mark","mark":{"name":"a\"b"}}"#), Ok(Said::Mark("a\"b".into())));
    let here = format!(r#"{{"event":"clear","streamSid":"MZ{}"}}"#, "01".repeat(16));
    assert_eq!(read(&here), Ok(Said::Clear));
    for nothing in [r#"{"event":"clear","streamSid":"MZ1"}"#, r#"{"event":"new"}"#] {
        assert_eq!(read(nothing), Ok(Said::Nothing), "{nothing}");
    }
    for broken in [
        "",
        "[]",
        "{}",
        r#"{"event":1}"#,
        r#"{"event":"media"}"#,
        r#"{"event":"mark"}"#,
        r#"{"event":"media","media":{"payload":"A"}}"#,
    ] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn a_mark_comes_back_when_what_was_before_it_is_over_and_a_clear_brings_all_back() {
    let (mut stream, mut desk) = (MediaStream::with(codec(), Vec::new(), None), Desk::new(Instant::now()));
    let media = r#"{"event":"media","media":{"payload":"/////w=="}}"#;
    let mark = |name: &str| format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#);
    for text in [media, &mark("one"), media, media, &mark("two"), &mark("three"), media] {
        stream.read(Line::Live, Message::Text(text), &mut desk);
    }
    let items: Vec<u64> = std::iter::from_fn(|| desk.take_event())
        .filter_map(|event| match event {
            Event::Audio(audio) => Some(audio.item),
            Event::AudioEnd { item } => Some(100 + item),
            _ => None,
        })
        .collect();
    assert_eq!(items, [1, 101, 2, 2, 102, 103, 4]);
    let returned = |desk: &mut Desk| {
        let mut names = Vec::new();
        desk.orders(|order| match order {
            Order::Send(Line::Live, text) => {
                let text: serde_json::Value = serde_json::from_slice(text).expect("JSON");
                names.push(text["mark"]["name"].as_str().expect("a name").to_owned());
            }
            other => panic!("{other:?}"),
        });
        names
    };
    stream.command(Command::Played { item: 1 }, &mut desk);
    assert_eq!(returned(&mut desk), ["one"]);
    stream.read(Line::Live, Message::Text(r#"{"event":"clear"}"#), &mut desk);
    assert_eq!(returned(&mut desk), ["two", "three"]);
    assert!(matches!(desk.take_event(), Some(Event::SpeechStarted { .. })));
    stream.read(Line::Live, Message::Text(media), &mut desk);
    assert!(matches!(desk.take_event(), Some(Event::Audio(Audio { item: 5, .. }))), "a new item");
}

#[test]
fn telnyx_is_told_in_its_own_words() {
    let (mut codec, now) = (codec_of(MediaStreamDialect::Telnyx), Instant::now());
    let (stream, call) = (Uuid::from_bytes([1; 16]).to_string(), Uuid::from_bytes([3; 16]).to_string());
    let about = [("from_number".to_owned(), "+4930".to_owned())];
    assert_eq!(written(|out| codec.connected(out)), serde_json::json!({"event": "connected", "version": "1.0.0"}));
    assert_eq!(
        written(|out| codec.start(&about, now, out)),
        serde_json::json!({"event": "start", "sequence_number": "1", "stream_id": stream, "start": {
            "user_id": format!("AC{}", "02".repeat(16)), "call_control_id": call, "call_session_id": call,
            "from": "+4930", "to": null, "custom_parameters": {"from_number": "+4930"},
            "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}}})
    );
    assert_eq!(
        written(|out| codec.media(&[0xFF; 3], now, out)),
        serde_json::json!({"event": "media", "sequence_number": "2", "stream_id": stream, "media": {
            "track": "inbound", "chunk": "1", "timestamp": "0", "payload": "////"}})
    );
    assert_eq!(written(|out| codec.key('5', out))["dtmf"], serde_json::json!({"digit": "5"}));
    assert_eq!(written(|out| codec.mark("m", out))["mark"]["name"], "m");
    assert_eq!(written(|out| codec.stop(out))["stop"]["call_control_id"], call);
    let read = |text: &str| codec.read(text, Vec::new());
    assert_eq!(read(r#"{"event":"media","media":{"payload":"////"}}"#), Ok(Said::Media(vec![0xFF; 3])));
    assert_eq!(read(&format!(r#"{{"event":"clear","stream_id":"{stream}"}}"#)), Ok(Said::Clear));
    assert_eq!(read(r#"{"event":"clear","stream_id":"another"}"#), Ok(Said::Nothing));
}

#[test]
fn plivo_is_told_and_understood_in_its_own_words() {
    let (mut codec, now) = (codec_of(MediaStreamDialect::Plivo), Instant::now());
    let (stream, call) = (Uuid::from_bytes([1; 16]).to_string(), Uuid::from_bytes([3; 16]).to_string());
    let about = [("phone".to_owned(), "+4930".to_owned()), ("call".to_owned(), "7".to_owned())];
    assert!(!codec.introduces_itself());
    assert_eq!(
        written(|out| codec.start(&about, now, out)),
        serde_json::json!({"event": "start", "sequenceNumber": 1, "streamId": stream, "extra_headers": "phone=+4930;call=7",
            "start": {"callId": call, "streamId": stream, "accountId": format!("AC{}", "02".repeat(16)),
                "tracks": ["inbound"], "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000}}})
    );
    assert_eq!(
        written(|out| codec.media(&[0xFF; 3], now + Duration::from_millis(20), out)),
        serde_json::json!({"event": "media", "sequenceNumber": 2, "streamId": stream, "media": {
            "track": "inbound", "chunk": 1, "timestamp": "20", "payload": "////"}})
    );
    assert_eq!(written(|out| codec.key('5', out))["dtmf"], serde_json::json!({"track": "inbound", "digit": "5"}));
    let played = written(|out| codec.mark("m", out));
    assert_eq!((&played["event"], &played["name"]), (&"playedStream".into(), &"m".into()));
    assert_eq!(written(|out| codec.cleared(out))["event"], "clearedAudio");
    let read = |text: &str| codec.read(text, Vec::new());
    let speech = |kind: &str, rate: u32| {
        format!(
            r#"{{"event":"playAudio","media":{{"contentType":"{kind}","sampleRate":{rate},"payload":"AAEC/w=="}}}}"#
        )
    };
    let octets = vec![0, 1, 2, 255];
    assert_eq!(read(&speech("audio/x-mulaw", 8_000)), Ok(Said::Media(octets.clone())));
    assert_eq!(read(&speech("audio/x-l16", 16_000)), Ok(Said::Linear(octets, 16_000)));
    assert!(read(&speech("audio/x-mulaw", 16_000)).is_err());
    assert!(read(&speech("audio/opus", 8_000)).is_err());
    assert_eq!(read(r#"{"event":"checkpoint","name":"m"}"#), Ok(Said::Mark("m".into())));
    assert_eq!(read(&format!(r#"{{"event":"clearAudio","streamId":"{stream}"}}"#)), Ok(Said::Clear));
    assert_eq!(read(r#"{"event":"sendDTMF","dtmf":"12#"}"#), Ok(Said::Keys("12#".into())));
    assert_eq!(read(r#"{"event":"media","media":{"payload":"AAEC"}}"#), Ok(Said::Nothing), "not Plivo's word");
    for broken in [r#"{"event":"playAudio"}"#, r#"{"event":"checkpoint"}"#, r#"{"event":"sendDTMF","dtmf":{}}"#] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn plivo_hears_that_all_was_thrown_away_and_of_no_checkpoint_that_was_not_played() {
    let codec = codec_of(MediaStreamDialect::Plivo);
    let (mut stream, mut desk) = (MediaStream::with(codec, Vec::new(), None), Desk::new(Instant::now()));
    let speech =
        r#"{"event":"playAudio","media":{"contentType":"audio/x-l16","sampleRate":16000,"payload":"AAEC/w=="}}"#;
    for text in [speech, r#"{"event":"checkpoint","name":"one"}"#, speech, r#"{"event":"checkpoint","name":"two"}"#] {
        stream.read(Line::Live, Message::Text(text), &mut desk);
    }
    let expected = Sound::Linear { pcm: vec![256, -254], rate: 16_000 };
    assert_eq!(desk.take_event(), Some(Event::Audio(Audio { item: 1, sound: expected })));
    stream.command(Command::Played { item: 1 }, &mut desk);
    stream.read(Line::Live, Message::Text(r#"{"event":"clearAudio"}"#), &mut desk);
    stream.command(Command::Truncate { item: 2, played: Duration::ZERO }, &mut desk);
    let mut said = Vec::new();
    desk.orders(|order| match order {
        Order::Send(Line::Live, text) => {
            let text: serde_json::Value = serde_json::from_slice(text).expect("JSON");
            said.push(format!("{}{}", text["event"].as_str().expect("an event"), text["name"]));
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(said, ["playedStream\"one\"", "clearedAudionull"]);
}

#[test]
fn a_bot_that_closes_hands_over_to_the_person_where_that_is_wanted_and_one_that_fails_does_not() {
    let person = Some(Person { destination: "+49301".into(), whisper: false });
    for (code, asked) in [(1000, true), (1011, false)] {
        let mut stream = MediaStream::with(codec(), Vec::new(), person.clone());
        let mut desk = Desk::new(Instant::now());
        let fate = stream.ended(&SocketError::Closed(code, String::new()), &mut desk);
        let wanted = asked.then(|| Event::TransferRequested { destination: "+49301".into(), whisper: None });
        assert_eq!(desk.take_event(), wanted);
        assert_eq!(matches!(fate, Fate::Over(None)), asked);
    }
}

#[test]
fn a_connection_is_signed_as_the_service_documents_it() {
    // Of OpenSSL: printf 'wss://bot.example/calls?of=me' | openssl dgst -sha1 -hmac 12345 -binary | base64
    let url: Url = "wss://bot.example:443/calls?of=me".parse().expect("a URL");
    assert_eq!(sign(&Secret::new("12345"), &url), "cNujCWUDaUb0d2xaA6WYtuD27fI=");
}
