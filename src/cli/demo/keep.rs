//! `--keep`: the gateway stays, and these lines drive it by hand.

use super::gateway::{Gateway, HOST, USER};
use super::target::Target;
use super::terminal::Terminal;
use crate::ops::signals::Signals;

/// Prints the lines and waits for Ctrl-C.
pub(super) async fn keep(terminal: &mut Terminal, gateway: &Gateway, target: &Target) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("signals cannot be heard: {error}"))?;
    terminal.heading("The gateway stays up. By hand, in another terminal:");
    for line in lines(gateway, target) {
        terminal.line(&line);
    }
    terminal.line("");
    terminal.line("Ctrl-C ends it.");
    signals.stop().await;
    terminal.line("");
    Ok(())
}

fn lines(gateway: &Gateway, target: &Target) -> Vec<String> {
    let api = format!("https://{HOST}:{}", gateway.https_address().port());
    let curl = format!("curl -sS --cacert {}", shell(&gateway.certificate_file().to_string_lossy()));
    let number = target.number().unwrap_or(super::DEFAULT_NUMBER);
    let order = serde_json::json!({
        "phone": number, "email": "demo@example.com", "apiKey": "local", "systemPrompt": super::PROMPT,
    });
    let mut lines = vec![
        "# a token for an hour".to_owned(),
        format!(
            "TOKEN=$({curl} {api}/oidc.ashx/token -d grant_type=password -d client_id=codeb-admin -d username={USER} \
             --data-urlencode password={} -d scope=openid | sed 's/.*\"access_token\": *\"\\([^\"]*\\)\".*/\\1/')",
            gateway.password.expose()
        ),
        "# place a call".to_owned(),
        format!(
            "{curl} {api}/api.ashx/v1/calls -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d {}",
            shell(&order.to_string())
        ),
        "# the calls; the newest first".to_owned(),
        format!("{curl} {api}/api.ashx/v1/calls -H \"Authorization: Bearer $TOKEN\""),
        "# hang up the newest".to_owned(),
        format!(
            "CALL=$({curl} \"{api}/api.ashx/v1/calls?limit=1\" -H \"Authorization: Bearer $TOKEN\" | \
             sed 's/.*\"callId\": *\"\\([^\"]*\\)\".*/\\1/')"
        ),
        format!("{curl} -X POST {api}/api.ashx/v1/calls/$CALL/hangup -H \"Authorization: Bearer $TOKEN\""),
        "# transcripts".to_owned(),
        format!("{curl} {api}/api.ashx/v1/transcripts -H \"Authorization: Bearer $TOKEN\""),
    ];
    if let Some(plain) = gateway.app.plain_address() {
        lines.push("# health and metrics, on this machine only".to_owned());
        lines.push(format!("curl -sS http://{plain}/readyz; curl -sS http://{plain}/metrics"));
    }
    lines
}

/// One word for a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_survive_the_shell() {
        assert_eq!(super::shell("it's {\"a\"}"), "'it'\\''s {\"a\"}'");
    }
}
