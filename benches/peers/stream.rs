//! Bytes of a connection, plain or TLS, at the origin's end and at the load's.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::event::{Event, Source};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, Connection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
};

pub struct Stream {
    socket: TcpStream,
    session: Option<Box<Connection>>,
    /// A short read came: until something happens, the next one would only say "would block".
    drained: bool,
    /// The peer's FIN has come, and with it the end of such short cuts.
    hung_up: bool,
}

/// The settings of a TLS listener.
pub fn server(certificate: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
        })
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// The settings of TLS clients that trust one certificate.
pub fn client(certificate: &Path, resumption: Resumption) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = resumption;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Stream {
    pub fn new(socket: TcpStream, session: Option<Connection>) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        Ok(Stream {
            socket,
            session: session.map(Box::new),
            drained: false,
            hung_up: false,
        })
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket
            .register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Something happened to it.
    pub fn note(&mut self, event: &Event) {
        self.drained = false;
        self.hung_up |= event.is_read_closed();
    }

    /// Zero: the end.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(session) = &mut self.session {
                match session.reader().read(room) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
            }
            if self.drained {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut counted = Counted {
                socket: &mut self.socket,
                short: false,
            };
            let n = match &mut self.session {
                None => counted.read(room)?,
                Some(session) => session.read_tls(&mut counted)?,
            };
            self.drained = counted.short && !self.hung_up;
            let Some(session) = self.session.as_mut().filter(|_| n > 0) else {
                return Ok(n);
            };
            session.process_new_packets().map_err(io::Error::other)?;
            flush(&mut self.socket, session)?;
        }
    }

    /// Bytes taken. A TLS session may keep some of them until the next `flush`.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.socket.write(bytes);
        };
        flush(&mut self.socket, session)?;
        let n = session.writer().write(bytes)?;
        match flush(&mut self.socket, session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(n),
        }
    }

    /// Ciphertext that waits goes first.
    pub fn flush(&mut self) -> io::Result<()> {
        self.session
            .as_mut()
            .map_or(Ok(()), |session| flush(&mut self.socket, session))
    }

    pub fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    /// Kind of the handshake; `None` before its end, or without TLS.
    pub fn handshake(&self) -> Option<(HandshakeKind, ProtocolVersion)> {
        let session = self.session.as_ref()?;
        session.handshake_kind().zip(session.protocol_version())
    }

    /// Says that no more will come, as a client does that leaves in order.
    pub fn say_goodbye(&mut self) {
        if let Some(session) = &mut self.session {
            session.send_close_notify();
            // Whoever has gone already need not hear it.
            let _ = flush(&mut self.socket, session);
        }
    }
}

fn flush(socket: &mut TcpStream, session: &mut Connection) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}

/// A socket that remembers whether the last read filled the room it was given.
struct Counted<'s> {
    socket: &'s mut TcpStream,
    short: bool,
}

impl Read for Counted<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let n = self.socket.read(room)?;
        self.short = n > 0 && n < room.len();
        Ok(n)
    }
}
