//! What a client says and hears: the bytes themselves, or the same bytes in TLS.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::link::{End, Left};

/// One end of a connection to the gateway.
pub struct ClientStream {
    pub end: End,
    tls: Option<Box<ClientConnection>>,
    /// The gateway said that no more follows (close_notify).
    closed: bool,
    /// It ended its own direction, perhaps in the middle of the handshake.
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
        let mut voice = ClientStream {
            end,
            tls,
            closed: false,
            finished: false,
        };
        voice.flush();
        voice
    }

    /// Whether it may speak: what is said before the handshake is over would wait for it.
    pub fn is_ready(&self) -> bool {
        self.tls
            .as_ref()
            .is_none_or(|session| !session.is_handshaking())
    }

    pub fn say(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.end.say(bytes),
            Some(session) => {
                session.writer().write_all(bytes).expect("memory takes it");
                self.flush();
            }
        }
    }

    /// At most `most` bytes of the wire's.
    pub fn hear(&mut self, most: usize) -> Vec<u8> {
        let bytes = self.end.hear(most);
        let Some(session) = &mut self.tls else {
            return bytes;
        };
        let (mut heard, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() && !self.closed {
            session.read_tls(&mut rest).expect("a slice can be read");
            match session.process_new_packets() {
                Ok(state) => self.closed |= state.peer_has_closed(),
                // Half a handshake is told to be one.
                Err(rustls::Error::AlertReceived(_)) if self.finished => return heard,
                Err(error) => panic!("I1: a client cannot read TLS: {error}"),
            }
            // "Would block" is how it says that there is no more.
            let _ = session.reader().read_to_end(&mut heard);
        }
        self.flush();
        heard
    }

    /// Everything that will ever come was heard, and the gateway said so: a FIN, or with TLS a close_notify.
    pub fn has_heard_the_end(&self) -> bool {
        match self.tls {
            Some(_) => self.closed,
            None => {
                self.end.is_ended()
                    && self.end.unheard() == 0
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
            self.end.say(&bytes);
        }
    }
}
