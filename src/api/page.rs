//! Query parameters and offset pagination.

use axum::http::Uri;
use serde::Serialize;

use super::problem::Problem;

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 500;

/// Decoded query parameters; of a repeated one the last counts.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Result<Query, Problem> {
        axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(pairs)| Query(pairs))
            .map_err(|_| Problem::BadRequest("the query string cannot be read".into()))
    }

    /// The parameter's value when there and not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().rev().find(|(key, _)| key == name);
        pair.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The part of a list that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) offset: u64,
}

impl Window {
    /// `limit` above 500 is lowered; below 1, or no number, refused.
    pub(super) fn of(query: &Query) -> Result<Window, Problem> {
        let limit = whole(query, "limit")?
            .map_or(DEFAULT_LIMIT, |limit| usize::try_from(limit).unwrap_or(LARGEST_LIMIT).min(LARGEST_LIMIT));
        if limit == 0 {
            return Err(Problem::BadRequest("limit must be at least 1".into()));
        }
        Ok(Window { limit, offset: whole(query, "offset")?.unwrap_or(0) })
    }
}

fn whole(query: &Query, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = query.text(name) else { return Ok(None) };
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::BadRequest(format!("{name} must be a whole number, not negative")));
    }
    // Only digits: it can fail only by being too large.
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// `{ data, total, limit, offset, next }`.
#[derive(Debug, Serialize)]
pub(super) struct Listed<T> {
    data: Vec<T>,
    total: u64,
    limit: usize,
    offset: u64,
    next: Option<u64>,
}

impl<T> Listed<T> {
    pub(super) fn new(data: Vec<T>, total: u64, window: Window) -> Listed<T> {
        let end = window.offset.saturating_add(window.limit as u64);
        let next = (end < total).then_some(end);
        Listed { data, total, limit: window.limit, offset: window.offset, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(query: &str) -> Result<Window, Problem> {
        let uri: Uri = format!("/calls?{query}").parse().expect("uri");
        Window::of(&Query::of(&uri)?)
    }

    #[test]
    fn defaults_are_50_and_0_and_the_cap_is_500() {
        assert_eq!(window(""), Ok(Window { limit: 50, offset: 0 }));
        assert_eq!(window("limit=20&offset=40"), Ok(Window { limit: 20, offset: 40 }));
        assert_eq!(window("limit=501"), Ok(Window { limit: 500, offset: 0 }));
        assert_eq!(window("limit=99999999999999999999999"), Ok(Window { limit: 500, offset: 0 }));
        assert_eq!(window("limit=&offset="), Ok(Window { limit: 50, offset: 0 }));
    }

    #[test]
    fn nonsense_is_refused_naming_the_parameter() {
        for query in ["limit=0", "limit=-1", "limit=x", "limit=1.5", "offset=-1", "offset=%20", "offset=1e3"] {
            let Err(Problem::BadRequest(text)) = window(query) else { panic!("{query} passed") };
            assert!(text.starts_with(query.split('=').next().expect("name")), "{text}");
        }
    }

    #[test]
    fn next_is_the_offset_of_the_next_page_or_null() {
        let next = |total, limit, offset| Listed::<u8>::new(vec![], total, Window { limit, offset }).next;
        assert_eq!(next(47, 10, 0), Some(10));
        assert_eq!(next(47, 10, 40), None);
        assert_eq!(next(40, 10, 30), None);
        assert_eq!(next(0, 50, 0), None);
        assert_eq!(next(5, 50, u64::MAX), None);
    }
}
