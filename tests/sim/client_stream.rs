//! Byte stream of a client, plain or over TLS.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::link::{End, Left};

/// Client's end of a connection to the gateway.
pub struct ClientStream {
    pub end: End,
    tls: Option<Box<ClientConnection>>,
    /// True if the gateway has sent close_notify.
    closed: bool,
    /// True if the client has ended its direction, perhaps in the middle of the handshake.
    finished: bool,
}

impl ClientStream {
    pub fn new(end: End, tls: Option<&Arc<ClientConfig>>) -> ClientStream {
        let tls = tls.map(|config| {
            let name = ServerName::try_from("tls.test").expect("a name");
            let mut session =
                ClientConnection::new(Arc::clone(config), name).expect("rustls takes the settings");
            session.set_buffer_limit(None);
            Box::new(session)
        });
        let mut stream = ClientStream {
            end,
            tls,
            closed: false,
            finished: false,
        };
        stream.flush();
        stream
    }

    /// Returns true if data can be sent: during the handshake it would be queued.
    pub fn is_ready(&self) -> bool {
        self.tls
            .as_ref()
            .is_none_or(|session| !session.is_handshaking())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.end.send(bytes),
            Some(session) => {
                session.writer().write_all(bytes).expect("memory takes it");
                self.flush();
            }
        }
    }

    /// Receives at most `most` bytes of the connection, and returns their data.
    pub fn receive(&mut self, most: usize) -> Vec<u8> {
        let bytes = self.end.receive(most);
        let Some(session) = &mut self.tls else {
            return bytes;
        };
        let (mut received, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() && !self.closed {
            session.read_tls(&mut rest).expect("a slice can be read");
            match session.process_new_packets() {
                Ok(state) => self.closed |= state.peer_has_closed(),
                // The gateway answers an incomplete handshake with an alert.
                Err(rustls::Error::AlertReceived(_)) if self.finished => return received,
                Err(error) => panic!("I1: a client cannot read TLS: {error}"),
            }
            // An error "would block" means here that no more data is available.
            let _ = session.reader().read_to_end(&mut received);
        }
        self.flush();
        received
    }

    /// Returns true if everything was received and the gateway has ended its direction: with FIN,
    /// or over TLS with close_notify.
    pub fn has_received_the_end(&self) -> bool {
        match self.tls {
            Some(_) => self.closed,
            None => {
                self.end.is_ended()
                    && self.end.unread() == 0
                    && self.end.left() != Some(Left::Reset)
            }
        }
    }

    pub fn finish(&mut self) {
        self.finished = true;
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
            self.flush();
        }
        self.end.finish();
    }

    fn flush(&mut self) {
        let Some(session) = &mut self.tls else { return };
        while session.wants_write() {
            let mut bytes = Vec::new();
            session.write_tls(&mut bytes).expect("memory takes it");
            self.end.send(&bytes);
        }
    }
}
