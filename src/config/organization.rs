//! The tenant, and what may be dialled for it.

use serde::Deserialize;

use super::hours::Hours;

/// The tenant that this box serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrganizationConfig {
    /// Host name under which clients reach the box; the tenant name on the wire.
    pub host: String,
    pub name: String,
    pub voice: String,
    pub language: String,
    /// IANA name, e.g. `Europe/Berlin`: whose hours and days those of [`DialConfig`] are.
    pub time_zone: String,
}

/// Who may be dialled. Denied unless whitelisted or matched here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialConfig {
    /// Number prefixes that are always allowed, e.g. `+4930` or `1` (short numbers).
    pub allow: Vec<String>,
    /// Prefixes that are never dialled, even when whitelisted.
    pub deny: Vec<String>,
    /// `true`: only the prefixes above may be dialled, API whitelisting adds nothing.
    pub fixed: bool,
    /// When calls may be placed; always when absent.
    pub hours: Option<Hours>,
    /// Outbound calls at once.
    pub max_calls: Option<usize>,
    /// Minutes of outbound calls on one day.
    pub max_minutes_per_day: Option<u64>,
}

impl Default for OrganizationConfig {
    fn default() -> Self {
        Self {
            host: "trunkline.local".into(),
            name: "Trunkline".into(),
            voice: "Aoede".into(),
            language: "en-US".into(),
            time_zone: "UTC".into(),
        }
    }
}
