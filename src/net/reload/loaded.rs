//! A configuration with everything that is read and computed for it before it is used.

use std::sync::Arc;

use crate::config::{Config, Listen, ListenKind};
use crate::net::config_files::ConfigFiles;
use crate::time::UnixTime;
use crate::transport::client::ClientTls;
use crate::transport::server::ServerTls;

/// A checked configuration, its certificates, and the TLS settings of its targets.
pub struct Loaded {
    /// The configuration.
    pub config: Arc<Config>,
    /// TLS settings of the listeners, in their order; `None`: no TLS.
    pub server_tls: Vec<Option<ServerTls>>,
    /// TLS settings of the targets, in their order; `None`: plain http.
    pub client_tls: Vec<Option<ClientTls>>,
    /// Time at which the configuration was read.
    pub read_at: UnixTime,
}

impl Loaded {
    /// Reads certificates and keys. `files`: those that the configuration was read from.
    ///
    /// # Errors
    /// All faults found, a line for each.
    pub fn new(config: Config, files: &ConfigFiles) -> Result<Loaded, Vec<String>> {
        let mut faults = Vec::new();
        let listeners = config.listeners.iter();
        let server_tls = listeners.map(|listen| server_tls(listen, files));
        let server_tls = server_tls.map(|tls| or_faults(tls, &mut faults)).collect();
        let client_tls = client_tls(&config).map(|tls| or_faults(tls, &mut faults));
        let client_tls = client_tls.collect();
        if faults.is_empty() {
            Ok(Loaded {
                config: Arc::new(config),
                server_tls,
                client_tls,
                read_at: files.read_at(),
            })
        } else {
            Err(faults)
        }
    }
}

fn or_faults<T>(result: Result<Option<T>, Vec<String>>, faults: &mut Vec<String>) -> Option<T> {
    result.unwrap_or_else(|found| {
        faults.extend(found);
        None
    })
}

fn server_tls(listen: &Listen, files: &ConfigFiles) -> Result<Option<ServerTls>, Vec<String>> {
    let ListenKind::Tls(named) = &listen.kind else {
        return Ok(None);
    };
    // Certificates are renewed without a reload: those on the disk are at least as new.
    if files.are_accepted()
        && let Ok(tls) = ServerTls::load(named, &|path| std::fs::read(path))
    {
        return Ok(Some(tls));
    }
    ServerTls::load(named, &|path| files.read(path))
        .map(Some)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn client_tls(
    config: &Config,
) -> impl Iterator<Item = Result<Option<ClientTls>, Vec<String>>> + '_ {
    let targets = config.settings.targets.iter().zip(&config.upstream_tls);
    targets.map(|(target, tls)| {
        let Some(tls) = tls else { return Ok(None) };
        let host = target.host.to_string();
        let client = tls.client.as_ref().map(|client| &client.identity);
        ClientTls::new(&host, tls.server_name.as_deref(), &tls.roots, client)
            .map(Some)
            .map_err(|reason| vec![format!("target {}: {reason}", target.name())])
    })
}
