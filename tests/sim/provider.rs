//! The authorization server of a world whose services are guarded: what a token begins with says whether it is active, and
//! sometimes it answers what is no answer, or nothing.

use tollgate::properties::reference;

use super::link::End;
use super::rng::Rng;

/// One connection to it.
pub struct Provider {
    end: End,
    heard: Vec<u8>,
    /// How often in a thousand it does wrong.
    trouble: u32,
    gone: bool,
    /// It says no more.
    silent: bool,
}

impl Provider {
    pub fn new(end: End, trouble: u32) -> Provider {
        Provider {
            end,
            heard: Vec::new(),
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

    pub fn act(&mut self, chance: &mut Rng) {
        self.heard.extend(self.end.hear(chance.size(4000)));
        if self.end.left().is_some() && self.end.unheard() == 0 {
            self.gone = true;
            return;
        }
        while !self.silent {
            let Ok((request, rest)) = reference::request(&self.heard) else {
                return;
            };
            let rest = self.heard.len() - rest.len();
            self.heard.drain(..rest);
            assert_eq!(
                (&request.head.method[..], &request.head.target[..]),
                (&b"POST"[..], &b"/introspect"[..])
            );
            let form = String::from_utf8(request.body).expect("a form is ASCII");
            let token = form
                .strip_prefix("token=")
                .and_then(|form| form.split('&').next())
                .expect("a token");
            self.answer(token, chance);
        }
    }

    fn answer(&mut self, token: &str, chance: &mut Rng) {
        let body = match token.strip_prefix("active.") {
            Some(id) => format!("{{\"active\":true,\"sub\":\"{id}\"}}"),
            None => "{\"active\":false}".to_owned(),
        };
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if !chance.hits(self.trouble) {
            return self.end.say(whole.as_bytes());
        }
        match chance.below(6) {
            0 => self
                .end
                .say(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
            1 => self
                .end
                .say(b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"active\":\"true\"}"),
            2 => self.end.say(b"220 smtp.test ready\r\n"),
            3 => {
                self.end.say(&whole.as_bytes()[..chance.below(whole.len())]);
                self.end.finish();
            }
            4 => self.end.reset(true),
            _ => {}
        }
        self.silent = true;
    }
}
