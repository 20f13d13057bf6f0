//! The gateway of the demo: the same [`App`] as `serve`, from a configuration file that is written for it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::target::Target;
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Secret};
use crate::directory::Role;
use crate::ops::log;

/// The name in the box's certificate, and its tenant.
pub(super) const HOST: &str = "localhost";
pub(super) const USER: &str = "demo";
const CONFIG_FILE: &str = "trunkline.toml";
const CERTIFICATE_FILE: &str = "box.pem";

pub(super) struct Gateway {
    pub(super) app: App,
    pub(super) folder: PathBuf,
    pub(super) password: Secret,
}

impl Gateway {
    /// Writes `folder/trunkline.toml`, starts the box from it and makes an administrator with a random password.
    pub(super) async fn start(
        folder: &Path,
        model: Option<&Path>,
        target: &Target,
        ports: [u16; 2],
        clock: Clock,
    ) -> Result<Gateway, String> {
        let file = folder.join(CONFIG_FILE);
        write(&file, &configuration(folder, model, target, ports))?;
        let config =
            Config::load(&file).map_err(|mistakes| format!("the demo's configuration is wrong:\n{mistakes}"))?;
        log::start(&config.log);
        let app = App::start(config, clock).await.map_err(|error| format!("the gateway cannot start: {error}"))?;
        write(&folder.join(CERTIFICATE_FILE), app.certificate_pem())?;
        let password = Secret::new(random_password());
        match app.identity().create_user(USER, &password, Role::Admin).await {
            Ok(_) => Ok(Gateway { app, folder: folder.to_owned(), password }),
            Err(error) => {
                app.stop(std::time::Duration::ZERO, std::future::pending()).await;
                Err(format!("the administrator cannot be made: {error}"))
            }
        }
    }

    pub(super) fn https_address(&self) -> SocketAddr {
        self.app.https_address()
    }

    /// For `curl --cacert`.
    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join(CERTIFICATE_FILE)
    }
}

/// An empty folder of this demo; `named` is used as it is.
pub(super) fn folder(named: Option<PathBuf>, clock: &Clock) -> Result<PathBuf, String> {
    let folder = named.unwrap_or_else(|| {
        let stamp = clock.utc().format("%Y%m%d-%H%M%S");
        std::env::temp_dir().join(format!("trunkline-demo-{stamp}-{}", std::process::id()))
    });
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .and_then(|()| folder.canonicalize())
        .map_err(|error| format!("the folder {} cannot be made: {error}; name another with --output", folder.display()))
}

fn configuration(folder: &Path, model: Option<&Path>, target: &Target, ports: [u16; 2]) -> String {
    let listen = if target.is_local() { "127.0.0.1:0" } else { "0.0.0.0:0" };
    let mut text = String::from("# Written by `trunkline demo`.\n");
    let quoted = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned()).to_string();
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "[organization]\nhost = \"{HOST}\"\nname = \"Trunkline demo\"\n\n\
         [state]\ndirectory = {}\n\n\
         [http]\nlisten = \"127.0.0.1:0\"\nplain_listen = \"127.0.0.1:0\"\n\n\
         [sip]\nlisten = \"{listen}\"\n\n\
         [media]\nports = [{}, {}]\nthreads = 1\n\n\
         [log]\nlevel = \"warn\"\n\n",
        quoted(&folder.join("state")),
        ports[0],
        ports[1],
    );
    if let Some(model) = model {
        let _ = write!(text, "[speech]\nmodel_directory = {}\n\n", quoted(model));
    }
    let _ = write!(
        text,
        "[[trunk]]\nname = \"phone\"\nhost = \"{}\"\ncaller_id = \"trunkline\"\nring_seconds = 45\n",
        target.host
    );
    text
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// 24 of 57 characters that cannot be taken for each other: about 140 bits.
fn random_password() -> String {
    const LETTERS: &[u8] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    (0..24).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_configuration_is_right() {
        let target = Target::local("+12025550143", SocketAddr::from(([127, 0, 0, 1], 5070)));
        let folder = Path::new("/tmp/a \"quoted\" folder");
        let text = configuration(folder, Some(Path::new("/tmp")), &target, [16_000, 16_063]);
        let config = Config::parse(&text, Path::new("trunkline.toml")).expect("right");
        assert_eq!(config.state.directory, folder.join("state"));
        assert_eq!(config.trunks[0].host, "127.0.0.1:5070");
        assert!(config.http.plain_listen.is_some_and(|address| address.ip().is_loopback()));
    }
}
