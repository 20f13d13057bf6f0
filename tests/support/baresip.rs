//! baresip as the called phone: it answers by itself, plays a sound file and keeps what it hears.
//!
//! Its `sndfile` module writes what came out of its decoder, packet by packet, so that the recording shows every hole
//! that the network or the gateway made and nothing that a sound card did.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Process, wait_for_udp_listener};
use super::{audio, free_udp_port, free_udp_range, wait_for};

/// The number under which the phone is reached.
pub const NUMBER: &str = "+4930123456";

pub struct Baresip {
    pub process: Process,
    pub port: u16,
    recordings: PathBuf,
    /// Samples a second of what it says and of what it keeps.
    rate: u32,
}

impl Baresip {
    /// Starts a phone whose own speech is `speech` (8 kHz); `codec` is `PCMU` or `PCMA`.
    #[track_caller]
    pub fn start(folder: &Path, speech: &[i16], codec: &str) -> Baresip {
        Baresip::start_at(folder, speech, codec, 8_000)
    }

    /// The same with sound of `rate` Hz, for `G722` and `opus`.
    #[track_caller]
    pub fn start_at(folder: &Path, speech: &[i16], codec: &str, rate: u32) -> Baresip {
        let account = |port| format!("<sip:{NUMBER}@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs={codec}\n");
        Baresip::with_account(folder, speech, account, &[], rate)
    }

    /// Starts a phone that registers with the box at `registrar` and then carries out `commands`.
    #[track_caller]
    pub fn registering(
        folder: &Path,
        speech: &[i16],
        registrar: std::net::SocketAddr,
        (user, password): (&str, &str),
        commands: &[&str],
    ) -> Baresip {
        let account = |_| {
            format!(
                "<sip:{user}@{registrar}>;auth_user={user};auth_pass={password};regint=60;answermode=auto;\
                 audio_codecs=PCMU\n"
            )
        };
        Baresip::with_account(folder, speech, account, commands, 8_000)
    }

    #[track_caller]
    fn with_account(
        folder: &Path,
        speech: &[i16],
        account: impl Fn(u16) -> String,
        commands: &[&str],
        rate: u32,
    ) -> Baresip {
        let home = folder.join("baresip");
        let recordings = home.join("heard");
        std::fs::create_dir_all(&recordings).expect("phone folder");
        audio::write_wav(&home.join("speech.wav"), speech, rate);
        let port = free_udp_port();
        let first = free_udp_range(10);
        let config = format!(
            "module_path {modules}\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\n\
             call_local_timeout 120\ncall_max_calls 4\n\
             audio_player aubridge,nobody\naudio_source aufile,{speech}\naudio_alert aubridge,nobody\n\
             audio_buffer 20-160\nausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels 1\nauplay_channels 1\n\
             rtp_ports {first}-{last}\nrtcp_enable yes\njitter_buffer_delay 2-10\nsnd_path {recordings}\n\
             module g711.so\nmodule g722.so\nmodule opus.so\nmodule srtp.so\n\
             module aufile.so\nmodule sndfile.so\nmodule aubridge.so\n\
             module_tmp account.so\nmodule_app menu.so\n",
            modules = modules().display(),
            speech = home.join("speech.wav").display(),
            last = first + 9,
            recordings = recordings.display(),
        );
        std::fs::write(home.join("config"), config).expect("phone configuration");
        std::fs::write(home.join("accounts"), account(port)).expect("phone account");
        std::fs::write(home.join("contacts"), "").expect("phone contacts");
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&home);
        for line in commands {
            command.args(["-e", line]);
        }
        let process = Process::start("baresip", &mut command, &home.join("output"));
        wait_for_udp_listener("baresip to listen", port);
        Baresip { process, port, recordings, rate }
    }

    fn recording(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(&self.recordings).ok()?.flatten().map(|entry| entry.path());
        entries.into_iter().find(|path| path.to_string_lossy().ends_with("-dec.wav"))
    }

    /// Waits until the phone has heard so much, silence included.
    #[track_caller]
    pub fn wait_until_heard(&self, time: Duration, limit: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).expect("short");
        wait_for("the phone to hear enough", limit, || {
            let path = self.recording()?;
            let spec = hound::WavReader::open(&path).ok()?.spec();
            let bytes = milliseconds * u64::from(spec.sample_rate) * u64::from(spec.channels) / 500;
            std::fs::metadata(path).ok().filter(|found| found.len() >= bytes)
        });
    }

    /// What the phone heard, at its rate, once the call is over and the file is whole. Opus leaves its decoder at 48 kHz
    /// on two channels, and so it is kept.
    #[track_caller]
    pub fn heard(&self) -> Vec<i16> {
        wait_for("the phone's recording", Duration::from_secs(10), || {
            let path = self.recording()?;
            audio::try_read_wav(&path).filter(|(samples, _)| !samples.is_empty())?;
            let (samples, rate) = audio::read_channel(&path, 0);
            let same = rate == self.rate;
            Some(if same { samples } else { audio::resample(&samples, f64::from(rate), f64::from(self.rate)) })
        })
    }
}

/// Debian keeps the modules either beside the program or under the architecture's folder.
fn modules() -> PathBuf {
    [
        "/usr/lib/baresip/modules",
        "/usr/lib/x86_64-linux-gnu/baresip/modules",
        "/usr/lib/aarch64-linux-gnu/baresip/modules",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|folder| folder.join("g711.so").is_file())
    .expect("baresip's modules; `make setup-test` installs them")
}
