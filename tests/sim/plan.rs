//! Plan of a request and its answer. The number of the request decides both, so that all sides of
//! the world know them.

use ring::hmac;
use tollgate::policy::auth::base64::encode_url;

use super::rng::Rng;
use super::signer::Signer;

/// Kinds of answers of an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Sized,
    Chunked,
    /// The body ends with the stream.
    UntilClose,
    NoContent,
    NotModified,
    /// A 100 and two 103, then a sized answer.
    Interim,
    /// Sized, and sent before the body of the request is read.
    Early,
    /// Sized, and the connection ends behind it.
    Closing,
    /// Sized; the idle connection ends at some later moment (F17).
    ClosingLater,
    /// Sized, with `Keep-Alive: timeout=2`; the idle connection ends after two seconds.
    KeptAlive,
    /// WebSocket.
    Switch,
    // The kinds below are faults of the upstream.
    /// No byte of an answer.
    Silent,
    /// First part of a sized or chunked answer, and then FIN.
    CutByFin {
        chunked: bool,
        permille: usize,
    },
    /// First part of a sized or chunked answer, and then RST.
    CutByReset {
        chunked: bool,
        permille: usize,
    },
    /// First part of a sized or chunked answer, and then nothing.
    Stall {
        chunked: bool,
        permille: usize,
    },
    /// Bytes that are not HTTP.
    Garbage,
    /// Sized, with bytes behind it that no request has asked for.
    Extra,
    /// FIN without a byte.
    Nothing,
}

/// Credential of a request to a guarded service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Credential {
    /// Token that is verified in the gateway's thread.
    Signed,
    /// Token that is active at the authorization server.
    Active,
    /// Token with a signature of another key.
    Forged,
    /// Token that is verified by the helper thread.
    Costly,
    /// Token for the helper thread with a forged signature.
    CostlyForged,
    /// Token that the authorization server does not know.
    Unknown,
    /// No credential.
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

/// Ways in which a request authenticates the connection to its upstream (NTLM). Only the same
/// client may use the connection afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignIn {
    /// With a field of the request.
    Brings,
    /// With a 401 as the answer: the upstream then knows its client.
    Asked,
}

/// Seconds in the `Keep-Alive` of an answer.
pub const KEPT_SECONDS: u64 = 2;

/// Name of the cookie of sticky sessions.
pub const STICKY: &str = "tg";

/// Secret that the gateway and the signer of tokens share.
pub const SECRET: &str = "a secret of the world: thirty-two bytes";

/// Request and its answer.
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: u64,
    /// True if the upstream uses TLS.
    pub tls: bool,
    pub method: &'static str,
    pub body: Option<(usize, bool)>,
    pub expects: bool,
    pub http10: bool,
    /// True if the request has no route.
    pub no_route: bool,
    /// Credential of the request. `None` if its service is not guarded.
    pub credential: Option<Credential>,
    /// Number of the client that sends the request.
    pub principal: u64,
    pub signs_in: Option<SignIn>,
    /// Value of the cookie of a sticky session that the client sends.
    pub cookie: Option<String>,
    pub answer: Answer,
    pub answer_len: usize,
    /// True if the upstream reads nothing behind the head. Only for an upstream that is silent or
    /// that switches to another protocol.
    pub ignores_input: bool,
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
    /// Returns the plan of a request. `trouble` is the rate of faulty answers in a thousand, `most`
    /// the largest body in bytes.
    pub fn of(seed: u64, id: u64, tls_too: bool, trouble: u32, most: usize) -> Plan {
        let mut rng = Rng::new(seed ^ id.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let sizes = [0, 1, 20, 300, 5_000, 90_000];
        let len = |rng: &mut Rng| {
            let most = rng.pick(&sizes).min(most);
            if most == 0 { 0 } else { rng.size(most) }
        };
        let permille = rng.below(1000);
        let chunked = rng.hits(500);
        let mut answer = rng.pick(&GOOD);
        if rng.hits(trouble) {
            answer = rng.pick(&[
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
            _ => rng.pick(&[
                "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PURGE",
            ]),
        };
        let with_body =
            !matches!(answer, Answer::Switch) && (method.starts_with('P') || rng.hits(50));
        let body = with_body.then(|| (len(&mut rng), rng.hits(400)));
        let cut = matches!(
            answer,
            Answer::CutByFin { .. } | Answer::CutByReset { .. } | Answer::Stall { .. }
        );
        let http10 =
            answer != Answer::Switch && body.is_none_or(|(_, chunked)| !chunked) && rng.hits(60);
        Plan {
            id,
            tls: tls_too && rng.hits(500),
            method,
            body,
            expects: body.is_some() && !http10 && rng.hits(200),
            http10,
            no_route: rng.hits(40) && answer != Answer::Switch,
            credential: None,
            principal: 0,
            signs_in: None,
            cookie: None,
            answer,
            // An answer that will be cut must be longer than its head.
            answer_len: len(&mut rng).max(if cut { most.min(2_000) } else { 0 }),
            ignores_input: false,
        }
    }

    /// Returns the request as its client sends it.
    pub fn request(&self) -> Vec<u8> {
        let route = if self.no_route {
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
            // The gateway must replace an identity that the client claims.
            head += &format!("Authorization: Bearer {token}\r\nX-User: root\r\n");
        }
        if self.signs_in == Some(SignIn::Brings) {
            head += &format!("Authorization: NTLM {}\r\n", self.principal);
        }
        if let Some(cookie) = &self.cookie {
            head += &format!("Cookie: a=b; {STICKY}={cookie}\r\n");
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

    /// Returns true if the request has a valid credential, or needs none.
    pub fn has_access(&self) -> bool {
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

    /// Returns true if the method is idempotent (RFC 9110 9.2.2) and known to the gateway.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
    }

    /// Returns true if the answer is complete once its last byte was sent. A cut removes at least
    /// that byte.
    pub fn is_whole_when_sent(&self) -> bool {
        let cut = matches!(
            self.answer,
            Answer::CutByFin { .. } | Answer::CutByReset { .. } | Answer::Stall { .. }
        );
        !cut && (self.answer != Answer::UntilClose || self.method == "HEAD")
    }

    /// Returns the whole answer of the upstream, before any cut.
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
            // A HEAD response has no body whose end could be the end of the stream, so an upstream
            // that closes must announce it.
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

/// Returns a chunked body. Its chunks differ in size, some have extensions, and the last has a
/// trailer.
fn in_chunks(body: &[u8], id: u64) -> Vec<u8> {
    let mut rng = Rng::new(id);
    let (mut out, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let (data, behind) = rest.split_at(rng.size(rest.len()));
        let extension = if rng.hits(200) { ";x=\"y\"" } else { "" };
        out.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
        rest = behind;
    }
    out.extend_from_slice(if rng.hits(300) {
        b"0\r\nX-Sum: 1\r\n\r\n"
    } else {
        b"0\r\n\r\n"
    });
    out
}

/// Returns bytes that identify their request.
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
