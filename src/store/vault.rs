use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use super::schema::sync_directory;

const CREDENTIAL: &str = "trunkline-master-key";
const FILE: &str = "master.key";
const CHECK_CONTEXT: &str = "store/master-key-check";
const CHECK_TEXT: &[u8] = b"trunkline";
/// First byte of what is sealed: AES-256-GCM, 12-byte nonce, ciphertext with a 16-byte tag.
const FORM: u8 = 1;

/// An encrypted secret, base64 in the record.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

/// Where the master key is looked for: the credential first, then the file.
pub(super) struct KeySource<'a> {
    pub(super) directory: &'a Path,
    pub(super) credentials: Option<&'a Path>,
}

/// Seals and unseals secrets under the master key.
pub(super) struct Vault {
    key: LessSafeKey,
    random: SystemRandom,
}

type MasterKey = Zeroizing<[u8; 32]>;

impl Vault {
    /// Reads the master key, or makes it when neither a key nor anything sealed under one exists (`check` is absent).
    pub(super) fn open(source: &KeySource<'_>, check: Option<&Sealed>) -> Result<Vault, String> {
        let (key, origin) = source.key(check.is_some())?;
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| "the master key has a wrong length")?;
        let vault = Vault { key: LessSafeKey::new(key), random: SystemRandom::new() };
        match check {
            Some(check) if vault.unseal(CHECK_CONTEXT, check).is_none() => Err(format!(
                "the master key from {origin} is not the one that this store was made with; restore that key"
            )),
            _ => Ok(vault),
        }
    }

    /// The text that a later [`Vault::open`] recognises its key by.
    pub(super) fn check(&self) -> Sealed {
        self.seal(CHECK_CONTEXT, CHECK_TEXT)
    }

    pub(super) fn seal(&self, context: &str, secret: &[u8]) -> Sealed {
        let mut nonce = [0; NONCE_LEN];
        if self.random.fill(&mut nonce).is_err() {
            // The system's source failed after it had worked at the start; the generator seeded from it goes on.
            nonce = rand::random();
        }
        let mut sealed = secret.to_vec();
        let aad = Aad::from(context.as_bytes());
        if self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).is_err() {
            // Only a secret of more than 64 GiB: an empty seal, which nothing opens.
            sealed.zeroize();
        }
        Sealed(STANDARD.encode([&[FORM], nonce.as_slice(), &sealed].concat()))
    }

    pub(super) fn unseal(&self, context: &str, sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = STANDARD.decode(&sealed.0).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *form != FORM {
            return None;
        }
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let aad = Aad::from(context.as_bytes());
        let length = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl KeySource<'_> {
    /// The key and where it came from, in words.
    fn key(&self, must_exist: bool) -> Result<(MasterKey, String), String> {
        if let Some(path) = self.credentials.map(|directory| directory.join(CREDENTIAL))
            && let Some(bytes) = read(&path)?
        {
            return Ok((parse(&bytes, &path)?, format!("the credential {CREDENTIAL}")));
        }
        let path = self.directory.join(FILE);
        let origin = path.display().to_string();
        match read(&path)? {
            Some(bytes) => {
                refuse_loose_permissions(&path)?;
                Ok((parse(&bytes, &path)?, origin))
            }
            None if must_exist => Err(format!(
                "its secrets are sealed under a master key, but {origin} is missing and there is no credential {CREDENTIAL}; restore the key"
            )),
            None => Ok((make(self.directory, &path).map_err(|error| format!("{origin}: {error}"))?, origin)),
        }
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("the master key {} cannot be read: {error}", path.display())),
    }
}

fn refuse_loose_permissions(path: &Path) -> Result<(), String> {
    let mode = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?.mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(format!("the master key {path} is open to other users (mode {mode:04o}); run chmod 600 {path}"))
}

/// 32 bytes as they are, or written in base64 or hex.
fn parse(bytes: &[u8], path: &Path) -> Result<MasterKey, String> {
    let key = <[u8; 32]>::try_from(bytes).ok().or_else(|| {
        let text = std::str::from_utf8(bytes).ok()?.trim();
        let decoded = Zeroizing::new(if text.len() == 64 { unhex(text)? } else { STANDARD.decode(text).ok()? });
        <[u8; 32]>::try_from(decoded.as_slice()).ok()
    });
    key.map(Zeroizing::new).ok_or_else(|| {
        format!("the master key {} must hold 32 bytes, in base64 or hex (openssl rand -base64 32)", path.display())
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| u8::try_from(nibble(pair.first()?)? << 4 | nibble(pair.get(1)?)?).ok();
    text.as_bytes().chunks(2).map(pair).collect()
}

/// Written aside and renamed, so that a crash leaves either no key or a whole one.
fn make(directory: &Path, path: &Path) -> io::Result<MasterKey> {
    let mut key = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(key.as_mut_slice()).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let aside = directory.join("master.key.new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    sync_directory(directory)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn open(directory: &Path, credentials: Option<&Path>, check: Option<&Sealed>) -> Result<Vault, String> {
        Vault::open(&KeySource { directory, credentials }, check)
    }

    fn problem(outcome: Result<Vault, String>) -> String {
        outcome.err().expect("refused")
    }

    #[test]
    fn makes_a_private_key_once_and_reads_it_again() {
        let directory = tempfile::tempdir().unwrap();
        let vault = open(directory.path(), None, None).unwrap();
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let sealed = vault.seal("users/1", b"secret");
        let again = open(directory.path(), None, Some(&vault.check())).unwrap();
        assert_eq!(again.unseal("users/1", &sealed).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn a_secret_opens_only_in_its_context_and_unharmed() {
        let directory = tempfile::tempdir().unwrap();
        let vault = open(directory.path(), None, None).unwrap();
        let sealed = vault.seal("a", b"secret");
        assert!(!sealed.0.contains("secret"));
        assert_ne!(sealed, vault.seal("a", b"secret"), "the nonce is random");
        assert!(vault.unseal("b", &sealed).is_none());
        let mut bytes = STANDARD.decode(&sealed.0).unwrap();
        for position in 0..bytes.len() {
            bytes[position] ^= 1;
            assert!(vault.unseal("a", &Sealed(STANDARD.encode(&bytes))).is_none(), "byte {position}");
            bytes[position] ^= 1;
        }
        for short in [Sealed(String::new()), Sealed("AQ==".into()), Sealed("no base64".into())] {
            assert!(vault.unseal("a", &short).is_none());
        }
    }

    #[test]
    fn refuses_a_key_that_others_may_read() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path(), None, None).unwrap();
        fs::set_permissions(directory.path().join(FILE), fs::Permissions::from_mode(0o640)).unwrap();
        let problem = problem(open(directory.path(), None, None));
        assert!(problem.contains("mode 0640") && problem.contains("chmod 600"), "{problem}");
    }

    #[test]
    fn the_credential_comes_first_in_bytes_base64_or_hex() {
        let (directory, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |bytes: &[u8]| fs::write(credentials.path().join(CREDENTIAL), bytes).unwrap();
        write(&[7; 32]);
        let sealed = open(directory.path(), Some(credentials.path()), None).unwrap().seal("a", b"secret");
        assert!(!directory.path().join(FILE).exists());
        for form in [format!("{}\n", STANDARD.encode([7; 32])), "07".repeat(32)] {
            write(form.as_bytes());
            let vault = open(directory.path(), Some(credentials.path()), None).unwrap();
            assert!(vault.unseal("a", &sealed).is_some(), "{form}");
        }
        write(b"too short");
        let problem = problem(open(directory.path(), Some(credentials.path()), None));
        assert!(problem.contains("32 bytes"), "{problem}");
    }

    #[test]
    fn another_or_a_missing_key_is_noticed_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let check = open(directory.path(), None, None).unwrap().check();
        fs::remove_file(directory.path().join(FILE)).unwrap();
        let missing = problem(open(directory.path(), None, Some(&check)));
        assert!(missing.contains("restore the key"), "{missing}");
        assert!(!directory.path().join(FILE).exists(), "no second key is made");
        open(directory.path(), None, None).unwrap();
        let other = problem(open(directory.path(), None, Some(&check)));
        assert!(other.contains("not the one"), "{other}");
    }
}
