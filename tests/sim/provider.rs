//! Authorization server of a guarded world. The prefix of a token decides whether it is active.
//! Some answers are malformed or missing.

use tollgate::properties::reference;

use super::link::End;
use super::rng::Rng;

/// Connection to the authorization server.
pub struct Provider {
    end: End,
    received: Vec<u8>,
    /// Rate of faulty answers in a thousand.
    trouble: u32,
    gone: bool,
    /// True after a faulty answer: no further answer follows.
    silent: bool,
}

impl Provider {
    pub fn new(end: End, trouble: u32) -> Provider {
        Provider {
            end,
            received: Vec::new(),
            trouble,
            gone: false,
            silent: false,
        }
    }

    pub fn end(&self) -> &End {
        &self.end
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn act(&mut self, rng: &mut Rng) {
        self.received.extend(self.end.receive(rng.size(4000)));
        if self.end.left().is_some() && self.end.unread() == 0 {
            self.gone = true;
            return;
        }
        while !self.silent {
            let Ok((request, rest)) = reference::request(&self.received) else {
                return;
            };
            let rest = self.received.len() - rest.len();
            self.received.drain(..rest);
            assert_eq!(
                (&request.head.method[..], &request.head.target[..]),
                (&b"POST"[..], &b"/introspect"[..])
            );
            let form = String::from_utf8(request.body).expect("a form is ASCII");
            let token = form
                .strip_prefix("token=")
                .and_then(|form| form.split('&').next())
                .expect("a token");
            self.answer(token, rng);
        }
    }

    fn answer(&mut self, token: &str, rng: &mut Rng) {
        let body = match token.strip_prefix("active.") {
            Some(id) => format!("{{\"active\":true,\"sub\":\"{id}\"}}"),
            None => "{\"active\":false}".to_owned(),
        };
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if !rng.hits(self.trouble) {
            return self.end.send(whole.as_bytes());
        }
        match rng.below(6) {
            0 => self
                .end
                .send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            1 => self
                .end
                .send(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"active\":\"true\"}"),
            2 => self.end.send(b"220 smtp.test ready\r\n"),
            3 => {
                self.end.send(&whole.as_bytes()[..rng.below(whole.len())]);
                self.end.finish();
            }
            4 => self.end.reset(true),
            _ => {}
        }
        self.silent = true;
    }
}
