//! Where the service is and who we are to it.

use std::path::Path;
use std::sync::Arc;

use crate::ai::socket::{Target, Url};
use crate::ai::trust;
use crate::config::{GeminiConfig, Secret};

const DEVELOPER: &str = "generativelanguage.googleapis.com";
const VERTEX: &str = "aiplatform.googleapis.com";
/// Longest token that is read from a file, octets.
const LONGEST: u64 = 64 << 10;

/// The configured service.
#[derive(Debug, Clone)]
pub struct Service {
    pub config: Arc<GeminiConfig>,
    url: Url,
    tls: Arc<rustls::ClientConfig>,
}

impl Service {
    /// The error is the operator's sentence.
    pub fn new(config: &GeminiConfig) -> Result<Service, String> {
        let address = address(config);
        let url = address.parse().map_err(|problem| format!("[engine.gemini] url {problem}"))?;
        let tls = Arc::new(trust::authorities("engine.gemini", config.ca.as_deref())?);
        let service = Service { config: Arc::new(config.clone()), url, tls };
        service.target(None)?;
        Ok(service)
    }

    /// How it is reached now; `key`: in place of the configured one.
    pub fn target(&self, key: Option<&Secret>) -> Result<Target, String> {
        Ok(Target { url: self.url.clone(), fields: self.fields(key)?, tls: self.tls.clone() })
    }

    fn fields(&self, key: Option<&Secret>) -> Result<Vec<(String, String)>, String> {
        let Some(vertex) = &self.config.vertex else {
            let Some(key) = key.or(self.config.api_key.as_ref()) else { return Ok(Vec::new()) };
            return Ok(vec![("x-goog-api-key".into(), one_line("api_key", key.expose())?)]);
        };
        let token = match (&vertex.token, &vertex.token_file) {
            (_, Some(file)) => from_file(file)?,
            (Some(token), None) => token.clone(),
            (None, None) => return Err("[engine.gemini.vertex] has neither token nor token_file".into()),
        };
        let token = one_line("vertex.token", token.expose())?;
        let mut fields = vec![("Authorization".into(), format!("Bearer {token}"))];
        fields.extend(vertex.quota_project.iter().map(|project| ("x-goog-user-project".into(), project.clone())));
        Ok(fields)
    }

    /// The whole name of the model of a call; `wanted`: what was ordered for it, if that is one of this service's.
    pub fn model(&self, wanted: Option<&str>) -> String {
        let name = wanted.filter(|name| name.contains("gemini")).unwrap_or(&self.config.model);
        let Some(vertex) = &self.config.vertex else {
            return if name.contains('/') { name.to_owned() } else { format!("models/{name}") };
        };
        let place = format!("projects/{}/locations/{}", vertex.project, vertex.location);
        match name.strip_prefix("models/").unwrap_or(name) {
            name if name.starts_with("projects/") => name.to_owned(),
            name if name.starts_with("publishers/") => format!("{place}/{name}"),
            name => format!("{place}/publishers/google/models/{name}"),
        }
    }
}

fn address(config: &GeminiConfig) -> String {
    if let Some(url) = &config.url {
        return url.clone();
    }
    match &config.vertex {
        Some(vertex) => {
            let host = match vertex.location.as_str() {
                "global" => VERTEX.to_owned(),
                location => format!("{location}-{VERTEX}"),
            };
            let version = config.version.as_deref().unwrap_or("v1beta1");
            format!("wss://{host}/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent")
        }
        None => {
            let version = config.version.as_deref().unwrap_or("v1beta");
            let method = format!("google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent");
            format!("wss://{DEVELOPER}/ws/{method}")
        }
    }
}

/// A few hundred octets from a local file.
fn from_file(path: &Path) -> Result<Secret, String> {
    let name = "[engine.gemini.vertex] token_file";
    let problem = |error: std::io::Error| format!("{name} {} cannot be read: {error}", path.display());
    if std::fs::metadata(path).map_err(problem)?.len() > LONGEST {
        return Err(format!("{name} {} is too large for a token", path.display()));
    }
    Ok(Secret::new(zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(problem)?).trim()))
}

fn one_line(name: &str, value: &str) -> Result<String, String> {
    if value.is_empty() || value.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return Err(format!("[engine.gemini] {name} must be one line of ASCII"));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        Service::new(&toml::from_str(text).expect("right")).expect("usable")
    }

    fn url(service: &Service) -> String {
        let url = &service.target(None).expect("a target").url;
        format!("{}{}", url.authority(), url.path)
    }

    #[test]
    fn a_key_goes_into_a_header_and_the_model_gets_its_place() {
        let mine = service("model = \"gemini-3.8-live\"\napi_key = \"k1\"");
        assert_eq!(
            url(&mine),
            "generativelanguage.googleapis.com/ws/\
             google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
        );
        let fields = |key: Option<&Secret>| mine.target(key).expect("a target").fields;
        assert_eq!(fields(None), [("x-goog-api-key".into(), "k1".into())]);
        assert_eq!(fields(Some(&Secret::new("k2"))), [("x-goog-api-key".into(), "k2".into())]);
        assert!(mine.target(Some(&Secret::new("a\r\nb: c"))).is_err());
        assert_eq!(mine.model(None), "models/gemini-3.8-live");
        assert_eq!(mine.model(Some("models/local-script")), "models/gemini-3.8-live");
        assert_eq!(mine.model(Some("models/gemini-3.1-flash-live-preview")), "models/gemini-3.1-flash-live-preview");
        assert!(url(&service("model = \"m\"\napi_key = \"k\"\nversion = \"v1\"")).contains("generativelanguage.v1.G"));
        assert!(!format!("{mine:?}").contains("k1"));
    }

    #[test]
    fn an_account_of_vertex_ai_has_a_token_that_is_read_anew_and_a_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "first\n").expect("written");
        let text = format!(
            "model = \"gemini-live-2.5-flash\"\n[vertex]\nproject = \"p\"\nlocation = \"europe-west4\"\n\
             quota_project = \"q\"\ntoken_file = {:?}",
            file.to_str().expect("text")
        );
        let mine = service(&text);
        assert_eq!(
            url(&mine),
            "europe-west4-aiplatform.googleapis.com/ws/\
             google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"
        );
        let fields = || mine.target(Some(&Secret::new("a key of the Gemini API"))).map(|target| target.fields);
        let project = ("x-goog-user-project".to_owned(), "q".to_owned());
        assert_eq!(fields(), Ok(vec![("Authorization".into(), "Bearer first".into()), project.clone()]));
        std::fs::write(&file, "second").expect("written");
        assert_eq!(fields(), Ok(vec![("Authorization".into(), "Bearer second".into()), project]));
        std::fs::write(&file, "").expect("written");
        assert!(fields().is_err());
        std::fs::remove_file(&file).expect("removed");
        assert!(fields().is_err_and(|problem| problem.contains("cannot be read")));
        let place = "projects/p/locations/europe-west4/publishers/google/models/";
        assert_eq!(mine.model(None), format!("{place}gemini-live-2.5-flash"));
        assert_eq!(mine.model(Some("models/gemini-x")), format!("{place}gemini-x"));
        assert_eq!(mine.model(Some("projects/o/locations/l/models/gemini")), "projects/o/locations/l/models/gemini");
    }

    #[test]
    fn an_address_of_ones_own_is_taken_as_it_is() {
        let mine = service("model = \"m\"\nurl = \"ws://127.0.0.1:9/live?x=1\"");
        assert_eq!(url(&mine), "127.0.0.1:9/live?x=1");
        assert_eq!(mine.target(None).expect("a target").fields, []);
    }
}
