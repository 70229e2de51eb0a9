//! Which fleet a command is about.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use wasmbed_boards::Boards;
use wasmbed_broker::credentials::Role;
use wasmbed_broker_client::Tls;

use super::Common;
use crate::{
    client::{Client, ClientError},
    config::Config,
    connection::{Address, Connection, Dialect, TlsFiles},
};

/// How long a service may take to start or to come back, before a command gives up.
const SERVICE: Duration = Duration::from_secs(20);
/// Name of the file in the data directory.
const FILE: &str = "context.toml";

/// What `wasmbed up` leaves for later commands, readable for its user only.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Context {
    broker: Address,
    #[serde(default)]
    tls: TlsFiles,
    prefix: String,
    user: String,
    password: String,
}

impl Context {
    /// Writes how to reach a fleet as its operator.
    pub(crate) fn write(data_dir: &Path, connection: &Connection) -> Result<PathBuf> {
        let context = Context {
            broker: connection.address.clone(),
            tls: connection.tls.as_ref().map(|tls| tls.files().clone()).unwrap_or_default(),
            prefix: connection.prefix.clone(),
            user: connection.username.clone(),
            password: connection.password.clone(),
        };
        let path = data_dir.join(FILE);
        let draft = data_dir.join("context.toml.new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(toml::to_string(&context)?.as_bytes())?;
        std::fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn read(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "no fleet is known: there is no {}; start one with `wasmbed up`, or use --broker \
                 mqtt://HOST:PORT and --password-file FILE",
                path.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        toml::from_str(&text)
            .with_context(|| format!("{} is damaged; `wasmbed up` writes it anew", path.display()))
    }
}

impl Common {
    /// The configuration file and environment with the command line's options over it.
    pub(crate) fn load(&self) -> Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        let broker = &mut config.broker;
        broker.url = self.broker.clone().or(broker.url.take());
        broker.user = self.user.clone().or(broker.user.take());
        broker.password_file = self.password_file.clone().or(broker.password_file.take());
        broker.secret_file = self.secret_file.clone().or(broker.secret_file.take());
        broker.ca_file = self.ca_file.clone().or(broker.ca_file.take());
        broker.cert_file = self.cert_file.clone().or(broker.cert_file.take());
        broker.key_file = self.key_file.clone().or(broker.key_file.take());
        config.prefix = self.prefix.clone().or(config.prefix);
        config.data_dir = self.data_dir.clone().or(config.data_dir);
        config.check()?;
        Ok(config)
    }

    /// The boards that are known here.
    pub(crate) fn boards(&self) -> Result<Boards> {
        Ok(match &self.load()?.service.boards_dir {
            Some(dir) => Boards::with_overrides(dir)?,
            None => Boards::embedded()?,
        })
    }

    /// Connects to the fleet as its operator and waits until the service is there: a request sent to a
    /// service that is just starting would be lost.
    pub(crate) async fn client(&self) -> Result<Client> {
        let mut client = Client::connect(self.connection()?).await?;
        match timeout(SERVICE, client.wait_for_service()).await {
            Ok(ready) => ready?,
            Err(_) => return Err(ClientError::ServiceOffline.into()),
        }
        Ok(client)
    }

    fn connection(&self) -> Result<Connection> {
        let config = self.load()?;
        if let Some(address) = config.broker.url.clone() {
            let is_known = config.broker.cert_file.is_some()
                || config.broker.password_file.is_some()
                || config.broker.secret_file.is_some()
                || config.data_dir().join(crate::config::SECRET_FILE).exists();
            if is_known {
                return config.connection_to(address, &Role::Operator);
            }
            bail!(
                "no credentials for {address}; use --cert-file and --key-file, --password-file or --secret-file"
            );
        }
        let known = Context::read(&config.data_dir())?;
        let password = match &config.broker.password_file {
            Some(path) => crate::config::read_password(path)?,
            None => known.password,
        };
        Ok(Connection {
            tls: known.broker.is_tls.then(|| Tls::load(known.tls)).transpose()?,
            address: known.broker,
            username: config.broker.user.unwrap_or(known.user),
            password,
            prefix: config.prefix.unwrap_or(known.prefix),
            dialect: Dialect::new(config.broker.protocol),
        })
    }
}
