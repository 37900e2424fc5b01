//! Order to a load process, as its command line, and its report, as a line.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Requests of one load process, which are all the same.
#[derive(Clone, Debug)]
pub struct Work {
    pub address: SocketAddr,
    /// Path and query.
    pub target: String,
    /// Bytes of body; `None`: a GET.
    pub body: Option<usize>,
    /// True if the body is sent in chunks of 1 KB.
    pub chunked: bool,
    /// Bytes of the body that each answer must have.
    pub expect: u64,
    pub connections: usize,
    /// True if each connection gets one answer before the measurement.
    pub warm_up: bool,
    /// Token that each request carries.
    pub token: Option<String>,
    /// TLS settings; `None` for plain connections.
    pub tls: Option<Tls>,
    /// Upper bound of the bytes of one read.
    pub piece: usize,
}

/// Settings of TLS connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    pub handshakes: Handshakes,
    /// Name that the certificate must have.
    pub name: String,
    /// PEM of the certificate that is trusted.
    pub certificate: PathBuf,
}

/// Kind of handshakes of a load, all with TLS 1.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshakes {
    /// One for each connection, which is kept.
    Once,
    /// Each request has a connection of its own, with a full handshake.
    Full,
    /// Each request has a connection of its own, which resumes the session of an earlier one.
    Resumed,
}

/// Result of a run.
#[derive(Clone, Default, Debug)]
pub struct Outcome {
    /// Complete, valid exchanges.
    pub requests: u64,
    pub errors: u64,
    /// Time from the first request to the end of the last answer.
    pub nanos: u64,
    /// Quantile of the time from the due time of a request to the end of its answer; 0 in a closed loop.
    pub p50: u64,
    pub p99: u64,
    /// First error.
    pub first_error: String,
}

impl Work {
    pub fn to_arguments(&self) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.target.clone(),
            self.body.map_or("-".to_owned(), |bytes| bytes.to_string()),
            self.chunked.to_string(),
            self.expect.to_string(),
            self.connections.to_string(),
            self.warm_up.to_string(),
            self.token.clone().unwrap_or("-".to_owned()),
            self.tls.as_ref().map_or("-".to_owned(), Tls::to_argument),
            self.piece.to_string(),
        ]
    }

    pub fn from_arguments(arguments: &[String]) -> Option<Work> {
        let [
            address,
            target,
            body,
            chunked,
            expect,
            connections,
            warm_up,
            token,
            tls,
            piece,
        ] = arguments
        else {
            return None;
        };
        Some(Work {
            address: address.parse().ok()?,
            target: target.clone(),
            body: if body == "-" {
                None
            } else {
                Some(body.parse().ok()?)
            },
            chunked: chunked.parse().ok()?,
            expect: expect.parse().ok()?,
            connections: connections.parse().ok()?,
            warm_up: warm_up.parse().ok()?,
            token: (token != "-").then(|| token.clone()),
            tls: if tls == "-" {
                None
            } else {
                Some(Tls::from_argument(tls)?)
            },
            piece: piece.parse().ok()?,
        })
    }

    /// Returns the whole request.
    pub fn request(&self) -> Vec<u8> {
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n",
            self.target
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let body = vec![b'y'; self.body.unwrap_or(0)];
        let body = match (self.body, self.chunked) {
            (None, _) => body,
            (Some(_), true) => {
                head.push_str("Transfer-Encoding: chunked\r\n");
                crate::message::chunked(&body, 1 << 10)
            }
            (Some(bytes), false) => {
                head.push_str(&format!(
                    "Content-Type: text/plain\r\nContent-Length: {bytes}\r\n"
                ));
                body
            }
        };
        head.push_str("\r\n");
        [head.into_bytes(), body].concat()
    }

    /// Returns the bytes of body of a request and its answer together.
    pub fn body_bytes(&self) -> u64 {
        self.body.unwrap_or(0) as u64 + self.expect
    }
}

impl Tls {
    fn to_argument(&self) -> String {
        let Tls {
            handshakes,
            name,
            certificate,
        } = self;
        format!("{handshakes:?},{name},{}", certificate.display())
    }

    fn from_argument(argument: &str) -> Option<Tls> {
        let mut words = argument.splitn(3, ',');
        let (handshakes, name, certificate) = (words.next()?, words.next()?, words.next()?);
        let all = [Handshakes::Once, Handshakes::Full, Handshakes::Resumed];
        let handshakes = all
            .into_iter()
            .find(|one| format!("{one:?}") == handshakes)?;
        Some(Tls {
            handshakes,
            name: name.to_owned(),
            certificate: PathBuf::from(certificate),
        })
    }
}

impl Outcome {
    pub fn to_line(&self) -> String {
        let Outcome {
            requests,
            errors,
            nanos,
            p50,
            p99,
            first_error,
        } = self;
        format!("{requests} {errors} {nanos} {p50} {p99} {first_error}")
    }

    pub fn from_line(line: &str) -> Option<Outcome> {
        let mut words = line.splitn(6, ' ');
        let mut number = || words.next()?.parse().ok();
        let (requests, errors, nanos, p50, p99) =
            (number()?, number()?, number()?, number()?, number()?);
        Some(Outcome {
            requests,
            errors,
            nanos,
            p50,
            p99,
            first_error: words.next().unwrap_or("").trim().to_owned(),
        })
    }
}
