//! Tools that look for telephone systems to break into, known by what they call themselves.

/// Names in User-Agent, From, To or Call-ID, in lower case. None is that of a phone or a telephone system.
const NAMES: [&[u8]; 14] = [
    b"friendly-scanner",
    b"friendly-request",
    b"sipvicious",
    b"sundayddr",
    b"sip-scan",
    b"sipscan",
    b"sipsak",
    b"sipcli",
    b"sivus",
    b"pplsip",
    b"iwar",
    b"vaxsipuseragent",
    b"nsauditor",
    b"smap/",
];
/// A header is looked through so far.
const LOOKED_AT: usize = 2_048;

/// Whether a request names such a tool; nothing is parsed and nothing kept.
pub fn is_scanner(datagram: &[u8]) -> bool {
    let head = datagram.get(..LOOKED_AT).unwrap_or(datagram);
    let lines = head.split(|byte| *byte == b'\n').take_while(|line| !matches!(line, [] | [b'\r']));
    lines.filter(|line| names_its_sender(line)).any(|line| NAMES.iter().any(|name| holds(line, name)))
}

fn names_its_sender(line: &[u8]) -> bool {
    let names: [&[u8]; 5] = [b"user-agent", b"from", b"to", b"f", b"t"];
    let Some(colon) = line.iter().take(16).position(|byte| *byte == b':') else { return false };
    let name = line.get(..colon).unwrap_or_default().trim_ascii();
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn holds(line: &[u8], name: &[u8]) -> bool {
    line.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> String {
        format!("OPTIONS sip:100@box SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n{line}\r\nContent-Length: 0\r\n\r\nsipvicious")
    }

    #[test]
    fn a_tool_is_known_by_its_names_in_any_case() {
        for line in [
            "User-Agent: friendly-scanner",
            "USER-AGENT : Friendly-Scanner",
            "User-Agent: sundayddr",
            "User-Agent: sipcli/v1.8",
            "From: \"sipvicious\"<sip:100@1.1.1.1>;tag=61",
            "f: \"SIPVicious\"<sip:100@1.1.1.1>",
            "User-Agent: VaxSIPUserAgent/3.1",
        ] {
            assert!(is_scanner(request(line).as_bytes()), "{line}");
        }
    }

    #[test]
    fn phones_and_carriers_are_not() {
        for line in [
            "User-Agent: Asterisk PBX 18.9",
            "User-Agent: baresip v1.0.0 (x86_64/linux)",
            "User-Agent: PolycomVVX-VVX_411-UA/5.9",
            "Subject: sipvicious",
            "Contact: <sip:sipsak@192.0.2.1>",
        ] {
            assert!(!is_scanner(request(line).as_bytes()), "{line}");
        }
        assert!(!is_scanner(b""));
        assert!(!is_scanner(b"\r\n\r\n"));
    }
}
