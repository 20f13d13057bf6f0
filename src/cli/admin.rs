//! `trunkline admin`: users, on the store itself, while the service is stopped.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{ConfigFile, Outcome, block_on, err, load, out};
use crate::app::{Offline, StartError};
use crate::clock::Clock;
use crate::config::Secret;
use crate::directory::{Role, User};
use crate::store::OpenError;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Create a user; the password comes from a file or the first line of stdin.
    AddUser {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        account: Account,
        #[arg(long, value_enum, default_value_t = RoleName::Admin)]
        role: RoleName,
    },
    /// Give a user another password.
    SetPassword {
        #[command(flatten)]
        file: ConfigFile,
        #[command(flatten)]
        account: Account,
    },
    /// Make an API key with the rights of an administrator, and show it once.
    MintKey {
        #[command(flatten)]
        file: ConfigFile,
        /// What the key is called in records.
        #[arg(long, value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Account {
    /// The user's name.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// A file whose first line is the password; stdin when absent.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum RoleName {
    Admin,
    Member,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Admin => Role::Admin,
            RoleName::Member => Role::Member,
        }
    }
}

pub(super) fn run(command: Command) -> Outcome {
    match command {
        Command::AddUser { file, account, role } => {
            let password = account.password()?;
            on_records(&file, async |records| add(records, &account.name(), &password, role.into()).await)
        }
        Command::SetPassword { file, account } => {
            let password = account.password()?;
            on_records(&file, async |records| set_password(records, &account.name(), &password).await)
        }
        Command::MintKey { file, name } => on_records(&file, async |records| mint_key(records, &name).await),
    }
}

/// Opens the store, does the work, closes the store.
fn on_records(file: &ConfigFile, work: impl AsyncFnOnce(&Offline) -> Outcome) -> Outcome {
    let config = load(&file.config)?;
    block_on(async {
        let records = open(&config).await?;
        let outcome = work(&records).await;
        records.close().await;
        outcome
    })
}

async fn open(config: &crate::config::Config) -> Result<Offline, String> {
    Offline::open(config, Clock::system()).await.map_err(|error| match error {
        StartError::Store(OpenError::Locked { .. }) => {
            format!("{error}: stop the service for this command, or make the first administrator with the claim code")
        }
        other => other.to_string(),
    })
}

async fn add(records: &Offline, name: &str, password: &Secret, role: Role) -> Outcome {
    if user(records, name)?.is_some() {
        return Err(format!("there is a user {name} already; `trunkline admin set-password` changes the password"));
    }
    records.identity.create_user(name, password, role).await.map_err(|error| error.to_string())?;
    let kind = if role == Role::Admin { "administrator" } else { "member" };
    out(&format!("{name} can sign in as {kind}"));
    Ok(())
}

async fn set_password(records: &Offline, name: &str, password: &Secret) -> Outcome {
    let Some(user) = user(records, name)? else {
        return Err(format!("there is no user {name}; `trunkline admin add-user` makes one"));
    };
    records.identity.create_user(name, password, user.role).await.map_err(|error| error.to_string())?;
    out(&format!("{name} has a new password"));
    Ok(())
}

async fn mint_key(records: &Offline, name: &str) -> Outcome {
    let (key, secret) = records.identity.mint_api_key(name).await.map_err(|error| error.to_string())?;
    err(&format!("The key of {} is shown this once:", key.name));
    out(secret.expose());
    Ok(())
}

fn user(records: &Offline, name: &str) -> Result<Option<User>, String> {
    let organization = records.directory.organization("").id;
    let snapshot = records.store.read().map_err(|error| error.to_string())?;
    records.directory.user(&snapshot, organization, name).map_err(|error| error.to_string())
}

impl Account {
    /// As it is stored; whether it may be one is for `identity` to say.
    fn name(&self) -> String {
        self.user.trim().to_lowercase()
    }

    fn password(&self) -> Result<Secret, String> {
        let line = match &self.password_file {
            Some(file) => first_line(file)?,
            None => ask()?,
        };
        Ok(Secret::new(line.as_str()))
    }
}

fn first_line(file: &Path) -> Result<Zeroizing<String>, String> {
    let opened = std::fs::File::open(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    line_of(std::io::BufReader::new(opened)).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

fn ask() -> Result<Zeroizing<String>, String> {
    if std::io::stdin().is_terminal() {
        err("Password (it shows as you type; a pipe or --password-file hides it):");
    }
    line_of(std::io::stdin().lock()).map_err(|error| format!("no password came: {error}"))
}

/// The first line without its end; a password longer than 1 KiB is none.
fn line_of(reader: impl BufRead) -> std::io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    std::io::Read::take(reader, 1024).read_line(&mut line)?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}
