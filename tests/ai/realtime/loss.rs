//! Connections that end in the middle of a call.

use super::*;

/// The next connection, refused with this answer.
async fn refuse(service: &Service, answer: &str) -> TcpStream {
    let (mut tcp, _) = service.listener.accept().await.expect("a connection");
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        tcp.read_buf(&mut request).await.expect("a request");
    }
    tcp.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.expect("sent");
    tcp
}

fn sounds(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(|event| if let Event::Audio(audio) = event { Some(audio.item) } else { None }).collect()
}

#[tokio::test]
async fn a_call_outlives_connections_that_are_cut_or_closed_and_nothing_is_said_twice() {
    let mut service = Service::start().await;
    let (mut session, mut line) = service.call("").await;
    let heard = json!({ "type": "conversation.item.input_audio_transcription.completed", "item_id": "u", "content_index": 0,
                        "transcript": "Good day." });
    line.says(heard).await;
    line.begins(&[1; 800]).await;
    let events = until(session.as_mut(), |event| matches!(event, Event::Audio(_))).await;
    assert_eq!(sounds(&events), [1]);
    let mut broken = Some(line);
    for (round, code) in [None, Some(1011), Some(1012)].into_iter().enumerate() {
        let mut line = broken.take().expect("a line");
        match code {
            // The cable is pulled: no Close, not even the end of the stream in order.
            None => {
                let tcp = line.socket.get_ref();
                socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).expect("set");
                drop(line);
            }
            Some(code) => {
                let frame = CloseFrame { code: CloseCode::from(code), reason: "restarting".into() };
                line.socket.close(Some(frame)).await.expect("sent");
            }
        }
        let lost = until(session.as_mut(), |event| matches!(event, Event::Error { .. })).await;
        assert!(matches!(lost.last(), Some(Event::Error { fatal: false, .. })), "{lost:?}");
        // What the caller says while there is no line.
        let octets: Vec<u8> = (0..=159).collect();
        session.hear(CallerFrame::Ulaw(&octets), Instant::now());
        let set_up = async {
            let mut line = service.accept().await;
            service.set_up(&mut line).await;
            let mut told = Vec::new();
            while told.last().is_none_or(|event: &Value| event["type"] != "response.create") {
                told.push(service.hears_any(&mut line).await);
            }
            (line, told)
        };
        let ((mut line, told), events) = meanwhile(session.as_mut(), set_up).await;
        assert_eq!(sounds(&events), [0_u64; 0], "what was said is not said again");
        assert!(!events.contains(&Event::Ready) && !events.contains(&Event::Ended), "{events:?}");
        let texts: Vec<&str> = told.iter().filter_map(|event| event["item"]["content"][0]["text"].as_str()).collect();
        assert_eq!(texts.len(), 2 + round, "{told:?}");
        assert_eq!(texts[..2], ["Good day.", "one two three"]);
        let missed =
            told.iter().find(|event| event["type"] == "input_audio_buffer.append").expect("the caller's sound");
        assert_eq!(missed["audio"], STANDARD.encode(&octets));
        let instructions = told.last().expect("an answer")["response"]["instructions"].as_str().expect("instructions");
        assert!(instructions.contains("repeat nothing"), "{instructions}");
        // The rest of it, which breaks off again.
        line.answers = round + 1;
        line.begins(&[2; 800]).await;
        let events = until(session.as_mut(), |event| matches!(event, Event::Audio(_))).await;
        assert_eq!(sounds(&events), [round as u64 + 2]);
        broken = Some(line);
    }
    drop(session);
    service.judged().await;
}

#[tokio::test]
async fn one_connection_at_a_time_is_made_and_a_refusal_is_the_end() {
    for (answer, words) in [
        ("401 Unauthorized", "does not accept the key"),
        ("404 Not Found", "check the address and the model"),
        ("429 Too Many Requests", "too many sessions"),
    ] {
        let mut service = Service::start().await;
        let (mut session, line) = service.call("").await;
        drop(line);
        let (_tcp, events) =
            tokio::join!(refuse(&service, answer), until(session.as_mut(), |event| *event == Event::Ended));
        let Event::Error { message, fatal: true } = &events[events.len() - 2] else { panic!("{events:?}") };
        assert!(message.contains(words), "{message}");
        // Nobody comes again.
        let again = tokio::time::timeout(Duration::from_millis(300), service.listener.accept()).await;
        assert!(again.is_err());
    }
}

#[tokio::test]
async fn a_service_that_stays_away_is_asked_a_bounded_number_of_times() {
    let mut service = Service::start().await;
    let (mut session, line) = service.call("").await;
    drop(line);
    let away = async {
        let mut asked = 0;
        loop {
            drop(refuse(&service, "503 Service Unavailable").await);
            asked += 1;
            if asked == 4 {
                return asked;
            }
        }
    };
    let (asked, events) = tokio::join!(away, until(session.as_mut(), |event| *event == Event::Ended));
    let Event::Error { message, fatal: true } = &events[events.len() - 2] else { panic!("{events:?}") };
    assert!(message.ends_with("4 times within 60 s"), "{message}");
    assert_eq!(asked, 4);
    let again = tokio::time::timeout(Duration::from_millis(300), service.listener.accept()).await;
    assert!(again.is_err());
}

#[tokio::test]
async fn an_unknown_model_is_never_asked_for_again() {
    let service = Service::start().await;
    let mut session = service.session("", Clock::system());
    let refuse = async {
        let mut line = service.accept().await;
        let error = json!({ "type": "invalid_request_error", "code": "model_not_found", "message": "no such model" });
        line.says(json!({ "type": "error", "error": error })).await;
        line
    };
    let (_line, events) = tokio::join!(refuse, until(session.as_mut(), |event| *event == Event::Ended));
    assert!(
        matches!(&events[0], Event::Error { message, fatal: true } if message.contains("model_not_found")),
        "{events:?}"
    );
    assert!(tokio::time::timeout(Duration::from_millis(300), service.listener.accept()).await.is_err());
}
