//! Header fields in their order, each as the `rsip` variant of its name.

use rsip::headers::{Header, UntypedHeader};

use super::params::split_list;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields(rsip::Headers);

/// Builds the three mappings between names and `rsip` variants from one list.
macro_rules! names {
    ($($name:literal => $variant:ident),* $(,)?) => {
        fn to_header(name: &str, value: String) -> Header {
            match long_form(name) {
                $(known if known.eq_ignore_ascii_case($name) =>
                    Header::$variant(rsip::headers::untyped::$variant::new(value)),)*
                other => Header::Other(other.to_owned(), value),
            }
        }

        fn parts(header: &Header) -> (&str, &str) {
            match header {
                $(Header::$variant(inner) => ($name, inner.value()),)*
                Header::Other(name, value) => (name, value),
            }
        }
    };
}

names! {
    "Via" => Via, "From" => From, "To" => To, "Call-ID" => CallId, "CSeq" => CSeq, "Contact" => Contact,
    "Max-Forwards" => MaxForwards, "Route" => Route, "Record-Route" => RecordRoute,
    "Content-Length" => ContentLength, "Content-Type" => ContentType, "Content-Encoding" => ContentEncoding,
    "Content-Disposition" => ContentDisposition, "Content-Language" => ContentLanguage,
    "Authorization" => Authorization, "Proxy-Authorization" => ProxyAuthorization,
    "WWW-Authenticate" => WwwAuthenticate, "Proxy-Authenticate" => ProxyAuthenticate,
    "Authentication-Info" => AuthenticationInfo, "Allow" => Allow, "Supported" => Supported, "Require" => Require,
    "Proxy-Require" => ProxyRequire, "Unsupported" => Unsupported, "Accept" => Accept,
    "Accept-Encoding" => AcceptEncoding, "Accept-Language" => AcceptLanguage, "Alert-Info" => AlertInfo,
    "Call-Info" => CallInfo, "Date" => Date, "Error-Info" => ErrorInfo, "Event" => Event, "Expires" => Expires,
    "In-Reply-To" => InReplyTo, "MIME-Version" => MimeVersion, "Min-Expires" => MinExpires,
    "Organization" => Organization, "Priority" => Priority, "Reply-To" => ReplyTo, "Retry-After" => RetryAfter,
    "Server" => Server, "Subject" => Subject, "Subscription-State" => SubscriptionState, "Timestamp" => Timestamp,
    "User-Agent" => UserAgent, "Warning" => Warning,
}

/// Compact forms (RFC 3261 §7.3.3 and the IANA registry).
fn long_form(name: &str) -> &str {
    let [letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'v' => "Via",
        b'f' => "From",
        b't' => "To",
        b'i' => "Call-ID",
        b'm' => "Contact",
        b'l' => "Content-Length",
        b'c' => "Content-Type",
        b'e' => "Content-Encoding",
        b'k' => "Supported",
        b's' => "Subject",
        b'o' => "Event",
        b'r' => "Refer-To",
        b'b' => "Referred-By",
        b'u' => "Allow-Events",
        b'a' => "Accept-Contact",
        b'j' => "Reject-Contact",
        b'd' => "Request-Disposition",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

impl Fields {
    pub fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(to_header(name, value.into()));
    }

    /// Puts a value in front of all others of its name (a Via, a Route).
    pub fn push_front(&mut self, name: &str, value: impl Into<String>) {
        let mut all = vec![to_header(name, value.into())];
        all.extend(std::mem::take(&mut self.0));
        self.0 = all.into();
    }

    /// Replaces the first field of that name and drops the others; appends when there is none.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let mut value = Some(value.into());
        let mut kept: Vec<Header> = Vec::new();
        for header in std::mem::take(&mut self.0) {
            if !same_name(&header, name) {
                kept.push(header);
            } else if let Some(value) = value.take() {
                kept.push(to_header(name, value));
            }
        }
        if let Some(value) = value {
            kept.push(to_header(name, value));
        }
        self.0 = kept.into();
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|header| !same_name(header, name));
    }

    /// The value of the first field of that name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all fields of that name, one a line of the message.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |header| same_name(header, name)).map(|header| parts(header).1)
    }

    /// The members of all fields of that name, comma lists taken apart.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(split_list).collect()
    }

    /// Name and value in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(parts)
    }

    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }
}

fn same_name(header: &Header, name: &str) -> bool {
    parts(header).0.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_and_odd_case_names_are_one() {
        let mut fields = Fields::default();
        fields.push("v", "a, b");
        fields.push("vIA", "c");
        fields.push("X-Own", "1");
        assert_eq!(fields.list("Via"), ["a", "b", "c"]);
        assert_eq!(fields.first("x-own"), Some("1"));
        fields.set("Via", "d");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [("Via", "d"), ("X-Own", "1")]);
        fields.push_front("Via", "e");
        assert_eq!(fields.list("Via"), ["e", "d"]);
    }
}
