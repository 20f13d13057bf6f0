//! The vendor's own types and client (PyPI google-genai, pinned in scripts/requirements.txt) as judges.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::live::{Captured, Live, listener, within};
use crate::common::tls;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn python(script: &str) -> Command {
    let mut command = Command::new(file(".cache/venv/bin/python3"));
    command.arg(file(script)).kill_on_drop(true);
    command
}

/// `setup`, `realtimeInput.audio`, …
pub fn kind(message: &Value) -> String {
    let key = |value: &Value| value.as_object().and_then(|fields| fields.keys().next().cloned()).unwrap_or_default();
    match key(message) {
        outer if outer == "realtimeInput" => format!("{outer}.{}", key(&message[&outer])),
        outer => outer,
    }
}

/// The verdict of the vendor's types: what was printed, and whether all was right.
async fn verdict(lines: &str) -> (String, bool) {
    let mut child = python("scripts/gemini-judge.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/setup.sh makes .cache/venv");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(lines.as_bytes()).await.expect("read");
    drop(input);
    let output = within("the judge", child.wait_with_output()).await.expect("it ran");
    (String::from_utf8(output.stdout).expect("text"), output.status.success())
}

#[tokio::test]
async fn the_vendors_types_take_every_message_that_calls_send() {
    let mut lines = String::new();
    for captured in [
        super::whole_call().await,
        super::tools().await,
        super::passage().await,
        super::refused_handle().await,
        super::everything_configured().await,
    ] {
        for message in captured.lock().expect("whole").iter() {
            lines.push_str(&format!("{message}\n"));
        }
    }
    let (said, fine) = verdict(&lines).await;
    println!("{said}");
    assert!(fine, "{said}");
    for kind in [
        "setup",
        "clientContent",
        "realtimeInput.audio",
        "realtimeInput.audioStreamEnd",
        "realtimeInput.text",
        "toolResponse",
        "contextUpdate",
    ] {
        assert!(said.lines().any(|line| line.starts_with(&format!("{kind}: "))), "{kind} in {said}");
    }
    // The judge does judge.
    let wrong = [
        r#"{"setup":{"model":"m","colour":"red"}}"#,
        r#"{"setup":{"model":"m","realtimeInputConfig":{"activityHandling":"SOMETIMES"}}}"#,
        r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm","data":"***"}}}"#,
        r#"{"realtimeInput":{"audio":{"mime":"audio/pcm"}}}"#,
        r#"{"realtimeInput":{"text":"a","audioStreamEnd":true}}"#,
        r#"{"setup":{"generationConfig":{"responseModalities":["SMELL"]}}}"#,
        r#"{"toolResponse":{"functionResponses":[{"name":"x","response":{}}]}}"#,
        "{}",
        "no JSON",
    ];
    let (said, fine) = verdict(&(wrong.join("\n") + "\n")).await;
    assert!(!fine && said.contains(&format!("{} faults", wrong.len())) && !said.contains(" right"), "{said}");
}

#[tokio::test]
async fn the_vendors_client_holds_a_whole_exchange_with_the_service_of_these_tests() {
    let (captured, (listener, address)) = (Captured::default(), listener().await);
    // It speaks TLS to any address, and trusts whom the usual variable names.
    let (_folder, pem, acceptor) = tls();
    let service = async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let wire = acceptor.accept(tcp).await.expect("TLS");
        let live = Live::over(Box::new(wire), &captured).await;
        assert!(live.path.contains("GenerativeService.BidiGenerateContent"), "{}", live.path);
        assert_eq!(live.key.as_deref(), Some("vendor-key"));
        live.answers().await;
    };
    let client = async {
        let mut client = python("scripts/gemini-client.py");
        let output = client.arg(format!("https://{address}")).env("SSL_CERT_FILE", &pem).output().await;
        let output = output.expect("scripts/setup.sh makes .cache/venv");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    };
    tokio::pin!(client);
    // Where the client gives up, the service would wait for ever.
    let (fine, said) = tokio::select! {
        verdict = &mut client => verdict,
        () = service => within("the client's verdict", client).await,
    };
    println!("{said}");
    assert!(fine && said.contains("\"turns\": 4"), "{said}");
}
