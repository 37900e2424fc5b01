//! What a request is and how it is answered: its number decides, so that every side of the world knows it.

use ring::hmac;
use tollgate::policy::auth::base64::encode_url;

use super::rng::Rng;
use super::signer::Signer;

/// How an upstream answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Sized,
    Chunked,
    /// The body ends with the stream.
    UntilClose,
    NoContent,
    NotModified,
    /// One 100, two 103, and then it is sized.
    Interim,
    /// Before the request's body is read; sized.
    Early,
    /// Sized, and the connection ends behind it.
    Closing,
    /// Sized; the idle connection ends at some later moment (F17).
    ClosingLater,
    /// Sized, with `Keep-Alive: timeout=2`; the idle connection ends after so many seconds.
    KeptAlive,
    /// A WebSocket.
    Switch,
    // From here on something is wrong with the upstream.
    /// No byte of an answer, ever.
    Silent,
    /// So much of an answer that is sized or chunked, and then FIN.
    CutByFin {
        chunked: bool,
        permille: usize,
    },
    /// The same with RST.
    CutByReset {
        chunked: bool,
        permille: usize,
    },
    /// The same, and then nothing.
    Stall {
        chunked: bool,
        permille: usize,
    },
    /// No HTTP.
    Garbage,
    /// Sized, and bytes nobody asked for behind it.
    Extra,
    /// It ends without a byte.
    Nothing,
}

/// What a request brings where its service is guarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credential {
    /// A token that is verified in the gateway.
    Signed,
    /// A token that its authorization server says is active.
    Active,
    /// A token that somebody else signed.
    Forged,
    /// A token that is verified by the helper thread.
    Costly,
    /// One that somebody else signed.
    CostlyForged,
    /// A token that its authorization server does not know.
    Unknown,
    /// None.
    Missing,
}

impl Credential {
    pub fn is_good(self) -> bool {
        matches!(
            self,
            Credential::Signed | Credential::Costly | Credential::Active
        )
    }
}

/// How a request authenticates the connection to its upstream, so that all that follows on it is its client's (NTLM).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignIn {
    /// By what it brings.
    Brings,
    /// It is asked for by a 401; the upstream knows from then on whom it talks to.
    Asked,
}

/// Seconds in the `Keep-Alive` of an answer.
pub const KEPT_SECONDS: u64 = 2;

/// The secret of the gateway and whoever signs.
pub const SECRET: &str = "a secret of the world: thirty-two bytes";

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: u64,
    /// To the upstream that speaks TLS.
    pub tls: bool,
    pub method: &'static str,
    pub body: Option<(usize, bool)>,
    pub expects: bool,
    pub http10: bool,
    /// The route does not exist.
    pub lost: bool,
    /// `None`: its service lets everybody in.
    pub credential: Option<Credential>,
    /// Whose request it is: the number of its client.
    pub principal: u64,
    pub signs_in: Option<SignIn>,
    pub answer: Answer,
    pub answer_len: usize,
    /// Its upstream, if it is silent or switches to another protocol, reads nothing behind the head.
    pub deaf: bool,
}

const GOOD: [Answer; 10] = [
    Answer::Sized,
    Answer::Sized,
    Answer::Chunked,
    Answer::UntilClose,
    Answer::NoContent,
    Answer::NotModified,
    Answer::Interim,
    Answer::Closing,
    Answer::ClosingLater,
    Answer::Switch,
];

impl Plan {
    /// The plan of a request. `trouble`: the upstream may do wrong (in a thousand); `most`: bytes of a body.
    pub fn of(seed: u64, id: u64, tls_too: bool, trouble: u32, most: usize) -> Plan {
        let mut chance = Rng::new(seed ^ id.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let sizes = [0, 1, 20, 300, 5_000, 90_000];
        let len = |chance: &mut Rng| {
            let most = chance.pick(&sizes).min(most);
            if most == 0 { 0 } else { chance.size(most) }
        };
        let permille = chance.below(1000);
        let chunked = chance.hits(500);
        let mut answer = chance.pick(&GOOD);
        if chance.hits(trouble) {
            answer = chance.pick(&[
                Answer::Silent,
                Answer::CutByFin { chunked, permille },
                Answer::CutByReset { chunked, permille },
                Answer::Stall { chunked, permille },
                Answer::Garbage,
                Answer::Extra,
                Answer::Nothing,
                Answer::Early,
            ]);
        }
        let method = match answer {
            Answer::Switch => "GET",
            Answer::Early => "POST",
            _ => chance.pick(&[
                "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PURGE",
            ]),
        };
        let with_body =
            !matches!(answer, Answer::Switch) && (method.starts_with('P') || chance.hits(50));
        let body = with_body.then(|| (len(&mut chance), chance.hits(400)));
        let cut = matches!(
            answer,
            Answer::CutByFin { .. } | Answer::CutByReset { .. } | Answer::Stall { .. }
        );
        let http10 =
            answer != Answer::Switch && body.is_none_or(|(_, chunked)| !chunked) && chance.hits(60);
        Plan {
            id,
            tls: tls_too && chance.hits(500),
            method,
            body,
            expects: body.is_some() && !http10 && chance.hits(200),
            http10,
            lost: chance.hits(40) && answer != Answer::Switch,
            credential: None,
            principal: 0,
            signs_in: None,
            answer,
            // What is to be cut must be longer than its head.
            answer_len: len(&mut chance).max(if cut { most.min(2_000) } else { 0 }),
            deaf: false,
        }
    }

    /// The request, as its client says it.
    pub fn request(&self) -> Vec<u8> {
        let route = if self.lost {
            "lost"
        } else if self.tls {
            "tls"
        } else {
            "plain"
        };
        let version = if self.http10 { "1.0" } else { "1.1" };
        let mut head = format!(
            "{} /{route}/{} HTTP/{version}\r\nHost: gate\r\nX-Id: {}\r\n",
            self.method, self.id, self.id
        );
        if self.answer == Answer::Switch {
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n";
        }
        if let Some(token) = self.token() {
            // What it says of itself is nothing.
            head += &format!("Authorization: Bearer {token}\r\nX-User: root\r\n");
        }
        if self.signs_in == Some(SignIn::Brings) {
            head += &format!("Authorization: NTLM {}\r\n", self.principal);
        }
        if self.expects {
            head += "Expect: 100-continue\r\n";
        }
        let body = self.request_body();
        match self.body {
            None => with_body(head, "", &[]),
            Some((len, false)) => with_body(head, &format!("Content-Length: {len}\r\n"), &body),
            Some((_, true)) => with_body(
                head,
                "Transfer-Encoding: chunked\r\n",
                &in_chunks(&body, self.id),
            ),
        }
    }

    /// The request brings a good credential, or needs none.
    pub fn is_let_in(&self) -> bool {
        self.credential.is_none_or(Credential::is_good)
    }

    fn token(&self) -> Option<String> {
        let signed = |secret: &str| {
            let claims = format!("{{\"sub\":\"{}\",\"exp\":4000000000}}", self.id);
            let text = format!(
                "{}.{}",
                encode_url(b"{\"alg\":\"HS256\"}"),
                encode_url(claims.as_bytes())
            );
            let tag = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
                text.as_bytes(),
            );
            format!("{text}.{}", encode_url(tag.as_ref()))
        };
        match self.credential? {
            Credential::Signed => Some(signed(SECRET)),
            Credential::Active => Some(format!("active.{}", self.id)),
            Credential::Forged => Some(signed("another secret")),
            Credential::Costly => Some(Signer::shared().token(self.id)),
            Credential::CostlyForged => Some(Signer::forged(self.id)),
            Credential::Unknown => Some(format!("unknown.{}", self.id)),
            Credential::Missing => None,
        }
    }

    pub fn request_body(&self) -> Vec<u8> {
        pattern(self.id << 1, self.body.map_or(0, |(len, _)| len))
    }

    pub fn answer_body(&self) -> Vec<u8> {
        pattern(self.id << 1 | 1, self.answer_len)
    }

    /// Methods whose repetition changes nothing (RFC 9110 9.2.2), as the gateway knows them.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
    }

    /// Whether the answer is whole as soon as its last byte was said. Whoever cuts it takes at least that byte away.
    pub fn is_whole_when_said(&self) -> bool {
        let cut = matches!(
            self.answer,
            Answer::CutByFin { .. } | Answer::CutByReset { .. } | Answer::Stall { .. }
        );
        !cut && (self.answer != Answer::UntilClose || self.method == "HEAD")
    }

    /// The whole answer as the upstream says it, before anything is cut off.
    pub fn response(&self) -> Vec<u8> {
        let id = format!("X-Id: {}\r\n", self.id);
        let body = self.answer_body();
        let sized = |extra: &str| {
            let status = match self.signs_in {
                Some(SignIn::Asked) => {
                    "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"w\", NTLM"
                }
                _ => "200 OK",
            };
            let head = format!("HTTP/1.1 {status}\r\n{id}{extra}");
            let shown: &[u8] = if self.method == "HEAD" { &[] } else { &body };
            with_body(head, &format!("Content-Length: {}\r\n", body.len()), shown)
        };
        let chunked = || {
            let shown = if self.method == "HEAD" {
                Vec::new()
            } else {
                in_chunks(&body, self.id)
            };
            with_body(
                format!("HTTP/1.1 200 OK\r\n{id}"),
                "Transfer-Encoding: chunked\r\n",
                &shown,
            )
        };
        match self.answer {
            Answer::Sized | Answer::ClosingLater | Answer::Early | Answer::Extra => sized(""),
            Answer::Closing => sized("Connection: close\r\n"),
            Answer::KeptAlive => sized(&format!("Keep-Alive: timeout={KEPT_SECONDS}\r\n")),
            Answer::Chunked => chunked(),
            // There is no body whose end would be the stream's: who closes behind it must say so.
            Answer::UntilClose if self.method == "HEAD" => with_body(
                format!("HTTP/1.1 200 OK\r\n{id}Connection: close\r\n"),
                "",
                &[],
            ),
            Answer::UntilClose => with_body(format!("HTTP/1.1 200 OK\r\n{id}"), "", &body),
            Answer::NoContent => with_body(format!("HTTP/1.1 204 No Content\r\n{id}"), "", &[]),
            Answer::NotModified => with_body(format!("HTTP/1.1 304 Not Modified\r\n{id}"), "", &[]),
            Answer::Interim => {
                let mut all = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
                all.extend_from_slice(&b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(2));
                all.extend_from_slice(&sized(""));
                all
            }
            Answer::Switch => {
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\n{id}Connection: Upgrade\r\nUpgrade: websocket\r\n"
                );
                with_body(head, "", &body)
            }
            Answer::Silent | Answer::Nothing => Vec::new(),
            Answer::CutByFin { chunked: many, .. }
            | Answer::CutByReset { chunked: many, .. }
            | Answer::Stall { chunked: many, .. } => {
                if many {
                    chunked()
                } else {
                    sized("")
                }
            }
            Answer::Garbage => b"220 smtp.test ready\r\n".to_vec(),
        }
    }
}

fn with_body(head: String, framing: &str, body: &[u8]) -> Vec<u8> {
    [head.as_bytes(), framing.as_bytes(), b"\r\n", body].concat()
}

/// A chunked body whose chunks differ in size; some have extensions, the last has a trailer.
fn in_chunks(body: &[u8], id: u64) -> Vec<u8> {
    let mut chance = Rng::new(id);
    let (mut out, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (data, behind) = rest.split_at(chance.size(rest.len()));
        let extension = if chance.hits(200) { ";x=\"y\"" } else { "" };
        out.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
        rest = behind;
    }
    out.extend_from_slice(if chance.hits(300) {
        b"0\r\nX-Sum: 1\r\n\r\n"
    } else {
        b"0\r\n\r\n"
    });
    out
}

/// Bytes that say whose they are.
pub fn pattern(id: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|at| {
            ((at ^ id)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(id)
                >> 56) as u8
        })
        .collect()
}
