//! One connection's bytes, plain or TLS.

use std::io::{self, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

pub enum Stream {
    Plain {
        socket: TcpStream,
        /// A short read came: the next one would only say "would block".
        drained: bool,
        /// The peer's FIN has come, and with it the end of such short cuts.
        hung_up: bool,
    },
    Tls {
        socket: TcpStream,
        session: Box<ServerConnection>,
    },
}

/// The settings of a TLS listener.
pub fn server(certificate: Option<&str>, key: Option<&str>) -> io::Result<Arc<ServerConfig>> {
    let (Some(certificate), Some(key)) = (certificate, key) else {
        return Err(io::Error::other("tls needs cert= and key="));
    };
    let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

impl Stream {
    pub fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        match tls {
            None => Ok(Stream::Plain { socket, drained: false, hung_up: false }),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
                Ok(Stream::Tls { socket, session: Box::new(session) })
            }
        }
    }

    /// The peer's FIN was reported.
    pub fn note_hangup(&mut self) {
        if let Stream::Plain { hung_up, drained, .. } = self {
            *hung_up = true;
            *drained = false;
        }
    }

    /// Zero: the end.
    pub fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain { drained: drained @ true, .. } => {
                *drained = false;
                Err(io::ErrorKind::WouldBlock.into())
            }
            Stream::Plain { socket, drained, hung_up } => {
                let n = socket.read(room)?;
                *drained = n > 0 && n < room.len() && !*hung_up;
                Ok(n)
            }
            Stream::Tls { socket, session } => loop {
                match session.reader().read(room) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
                if session.read_tls(socket)? == 0 {
                    return Ok(0);
                }
                session.process_new_packets().map_err(io::Error::other)?;
                flush(socket, session)?;
            },
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain { socket, .. } => socket.write(bytes),
            Stream::Tls { socket, session } => {
                flush(socket, session)?;
                let n = session.writer().write(bytes)?;
                match flush(socket, session) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Ok(n),
                }
            }
        }
    }

    /// Ciphertext that waits goes first.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain { .. } => Ok(()),
            Stream::Tls { socket, session } => flush(socket, session),
        }
    }
}

fn flush(socket: &mut TcpStream, session: &mut ServerConnection) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(socket)?;
    }
    Ok(())
}
