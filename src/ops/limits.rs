//! Limits of the process: enough file descriptors for the calls that the trunks may carry.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// RTP and RTCP socket and the recording.
const FILES_PER_CALL: u64 = 3;
/// Store, listeners, API connections, logs.
const FILES_BESIDE: u64 = 256;

/// Raises the soft limit of open files to the hard one and returns what may be open now.
pub fn raise_open_files() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The operator's sentence when `open_files` cannot carry what the trunks allow.
pub fn shortage(config: &Config, open_files: u64) -> Option<String> {
    let calls: usize = config.trunks.iter().map(|trunk| trunk.max_calls).sum();
    let needed = FILES_BESIDE + FILES_PER_CALL * calls as u64 + config.sip.max_connections as u64;
    (open_files < needed).then(|| {
        format!(
            "{open_files} open files are allowed, {calls} calls and [sip] max_connections need {needed}; raise LimitNOFILE of the unit, or lower one of them"
        )
    })
}

/// The operator's sentence when the RTP ports cannot carry what the trunks allow.
pub fn port_shortage(config: &Config) -> Option<String> {
    let [first, last] = config.media.ports;
    let pairs = (usize::from(last) + 1).saturating_sub(usize::from(first)) / 2;
    let calls: usize = config.trunks.iter().map(|trunk| trunk.max_calls).sum();
    (pairs < calls).then(|| {
        format!(
            "[media] ports holds {pairs} pairs for {calls} calls; widen the range, or lower max_calls of the trunks"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let most = raise_open_files().expect("raising to the hard limit is always allowed");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"), (most, most));
    }

    #[test]
    fn too_few_files_or_ports_are_said() {
        let text = "[media]\nports = [20000, 20019]\n[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nmax_calls = 100";
        let config = Config::parse(text, std::path::Path::new("box.toml")).expect("right");
        assert!(shortage(&config, 2_603).expect("short").contains("need 2604"));
        assert_eq!(shortage(&config, 2_604), None);
        assert!(port_shortage(&config).expect("short").contains("10 pairs for 100 calls"));
    }
}
