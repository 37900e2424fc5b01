//! TLS on the side of the load: sessions of its connections, and a check that each handshake was of the measured kind.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, HandshakeKind, ProtocolVersion};

use super::client::Client;
use super::work::{Handshakes, Tls};
use crate::stream;

pub struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    handshakes: Handshakes,
    /// True after the warm-up. Before, a handshake may be of any kind, because there are no tickets yet.
    pub warm: bool,
}

impl Secure {
    pub fn new(tls: &Tls) -> io::Result<Secure> {
        let resumption = match tls.handshakes {
            // Of TLS 1.3 tickets it keeps the newest eight, and uses each once.
            Handshakes::Resumed => Resumption::in_memory_sessions(1),
            Handshakes::Once | Handshakes::Full => Resumption::disabled(),
        };
        let config = stream::client(&tls.certificate, resumption)?;
        let name = ServerName::try_from(tls.name.clone()).map_err(io::Error::other)?;
        Ok(Secure {
            config,
            name,
            handshakes: tls.handshakes,
            warm: false,
        })
    }

    pub fn session(&self) -> io::Result<Connection> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(io::Error::other)?;
        Ok(Connection::Client(session))
    }

    /// True if each request has a connection of its own.
    pub fn is_fresh_each_time(&self) -> bool {
        self.handshakes != Handshakes::Once
    }

    /// Returns the fault of the handshake of a client that had an answer.
    pub fn complaint(&self, client: &mut Client) -> Option<String> {
        let wanted = match self.handshakes {
            Handshakes::Full => HandshakeKind::Full,
            Handshakes::Resumed => HandshakeKind::Resumed,
            Handshakes::Once => return None,
        };
        match client.stream().handshake() {
            _ if !self.warm => None,
            Some((kind, ProtocolVersion::TLSv1_3)) if kind == wanted => None,
            other => Some(format!(
                "the handshake was {other:?}, not {wanted:?} by TLS 1.3"
            )),
        }
    }
}
