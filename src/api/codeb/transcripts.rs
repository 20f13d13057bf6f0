//! The two transcript routes.

use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::api::dialect::Context;
use crate::api::page::{Listed, Query, Window};
use crate::api::problem::Problem;
use crate::call::record::{CallFilter, ReadModel};
use crate::call::{Call, Direction};
use crate::clock::UtcTime;
use crate::store::StoreError;

use super::order::iso_utc;
use super::transcript::{Item, Whole};
use super::{Admin, Failure, Id, reading};

pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    uri: Uri,
) -> Result<axum::Json<Listed<Item>>, Failure> {
    let query = Query::of(&uri)?;
    let window = Window::of(&query)?;
    let filter = CallFilter {
        organization: principal.organization,
        direction: direction(query.text("source"))?,
        with_transcript: true,
        text: query.text("q").map(str::to_owned),
        since: query.text("since").map(since).transpose()?,
        ..CallFilter::default()
    };
    let page = reading(move || context.read_model.calls(&filter, window.offset, window.limit)).await?;
    let items = page.items.into_iter().map(Item::of).collect();
    Ok(axum::Json(Listed::new(items, page.total, window)))
}

/// By call id or by file name; JSON, or the text file where the client asks for `text/plain`.
pub(super) async fn detail(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let call = find(&context.read_model, principal.organization, &id)?.ok_or_else(|| unknown(&id))?;
    if prefers_text(&headers) {
        return text_file(&context.transcripts, &call).await.ok_or_else(|| unknown(&id));
    }
    let (read_model, key) = (context.read_model.clone(), call.id);
    let turns = reading(move || read_model.turns(key)).await?;
    Ok(axum::Json(Whole::of(call, turns)).into_response())
}

fn find(read_model: &ReadModel, organization: uuid::Uuid, id: &str) -> Result<Option<Call>, StoreError> {
    let call = match read_model.call_by_alias(organization, id)? {
        Some(call) => Some(call),
        None => read_model.call_by_transcript_file(organization, id)?,
    };
    Ok(call.filter(|call| !call.transcript_file.is_empty()))
}

/// The file's name comes from the record, never from the request.
async fn text_file(folder: &Path, call: &Call) -> Option<Response> {
    let name = Path::new(&call.transcript_file).file_name()?;
    let text = tokio::fs::read(folder.join(name)).await.ok()?;
    Some(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

fn unknown(id: &str) -> Failure {
    Failure(Problem::NotFound(format!("No transcript for callId={id}")))
}

fn direction(source: Option<&str>) -> Result<Option<Direction>, Problem> {
    match source {
        None => Ok(None),
        Some("vnum") => Ok(Some(Direction::Inbound)),
        Some("outbound-ai") => Ok(Some(Direction::Outbound)),
        Some(_) => Err(Problem::BadRequest("source must be vnum or outbound-ai".into())),
    }
}

/// A plus sign that was not escaped arrives as a blank; a day alone means its first moment.
fn since(text: &str) -> Result<UtcTime, Problem> {
    let text = text.trim().replace(' ', "+");
    iso_utc(&text)
        .or_else(|| iso_utc(&format!("{text}T00:00:00")))
        .ok_or_else(|| Problem::BadRequest("since must be an ISO 8601 time in UTC".into()))
}

/// Whether `text/plain` is named, and wanted at least as much as JSON (RFC 9110 §12.5.1).
fn prefers_text(headers: &HeaderMap) -> bool {
    let mut text = 0.0_f32;
    let mut json = 0.0_f32;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            match name.as_str() {
                "text/plain" => text = text.max(weight),
                "application/json" => json = json.max(weight),
                _ => {}
            }
        }
    }
    text > 0.0 && text >= json
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::ended;
    use super::*;

    #[test]
    fn text_is_sent_only_to_those_who_ask_for_it() {
        let with = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("header"));
            prefers_text(&headers)
        };
        for accept in ["text/plain", "text/plain, */*", "TEXT/PLAIN;q=0.9, application/json;q=0.5"] {
            assert!(with(accept), "{accept}");
        }
        for accept in ["*/*", "application/json", "application/json, text/plain;q=0.5", "text/*", "text/plain;q=0"] {
            assert!(!with(accept), "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }

    #[test]
    fn since_takes_the_usual_spellings() {
        let expected = UtcTime::parse("2026-06-04T00:00:00Z").expect("time");
        for text in ["2026-06-04T00:00:00Z", "2026-06-04T00:00:00", "2026-06-04", "2026-06-04T02:00:00 02:00"] {
            assert_eq!(since(text), Ok(expected), "{text}");
        }
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn an_unknown_source_is_refused() {
        assert_eq!(direction(Some("vnum")), Ok(Some(Direction::Inbound)));
        assert_eq!(direction(Some("outbound-ai")), Ok(Some(Direction::Outbound)));
        assert_eq!(direction(None), Ok(None));
        assert!(direction(Some("office-tab")).is_err());
    }

    #[tokio::test]
    async fn a_record_cannot_point_out_of_the_transcript_folder() {
        let folder = tempfile::tempdir().expect("folder");
        let inside = folder.path().join("transcripts");
        std::fs::create_dir(&inside).expect("created");
        std::fs::write(folder.path().join("secret.txt"), "secret").expect("written");
        std::fs::write(inside.join("good.txt"), "good").expect("written");
        let with = |file: &str| Call { transcript_file: file.into(), ..ended() };
        assert!(text_file(&inside, &with("good.txt")).await.is_some());
        assert!(text_file(&inside, &with("../secret.txt")).await.is_none());
    }
}
