//! What is asked of DNS, and what it says: plain values, without TTLs and wire forms.

use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Lower case, without the last dot.
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Naptr,
    Srv,
    A,
    Aaaa,
}

/// An answer; empty when DNS says that there is no such record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
    Nothing,
}

/// RFC 3403; only what `s` rules need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    /// `s`: the replacement is looked up as SRV.
    pub flags: String,
    /// `SIP+D2U`
    pub service: String,
    pub replacement: String,
}

/// RFC 2782. A target `""` (the root) says that the service is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

impl Question {
    pub fn new(name: &str, kind: Kind) -> Question {
        Question { name: plain(name), kind }
    }
}

/// Names compare without case and without the root's dot.
pub fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
