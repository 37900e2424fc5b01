//! Orders of certificates from an authority that sends arbitrary bytes.

use std::collections::BTreeMap;

use super::cost;
use crate::acme::{
    self, BODY_BYTES, File, Identifier, Keys, Kind, Machine, Method, Plan, Request, Response, Step,
    Url, Wanted,
};
use crate::policy::auth::json::Json;
use crate::time::UnixTime;
use crate::transport::leaf::leaf;

/// Begin of the virtual time, in seconds since 1970: the first of January 2027.
const BEGIN: u64 = 1_798_761_600;

/// Steps of a machine: an order has some thirty.
const STEPS_MAX: usize = 600;

/// Shortest pause between two orders that the authority has taken, in seconds.
const PAUSE_MIN: u64 = 60;

/// Bytes of a line for the log, beside the names of the certificate.
const LINE_BYTES_MAX: usize = 1_000;

/// Public key that the seeds have a certificate for.
#[rustfmt::skip]
const POINT: [u8; 65] = [
    0x04, 0xc8, 0x1d, 0xae, 0x25, 0x0c, 0xf3, 0x9f, 0x5c, 0x72, 0xf4, 0x06,
    0xea, 0xda, 0x18, 0x4c, 0x9a, 0x35, 0x38, 0x4e, 0x38, 0xe6, 0x45, 0x35,
    0x17, 0x26, 0x0c, 0x99, 0xe8, 0x79, 0xea, 0x63, 0x95, 0x87, 0x9c, 0x4b,
    0x8e, 0x68, 0x11, 0x74, 0x10, 0x28, 0xa6, 0xc7, 0x67, 0x5e, 0xfe, 0x9c,
    0x16, 0x24, 0x49, 0x1c, 0x9d, 0xba, 0xd6, 0xf8, 0x45, 0xc2, 0x19, 0x89,
    0xdd, 0xa4, 0x14, 0x8e, 0x75,
];

/// The first byte says for what names and with what proof; the answers of an authority follow, with
/// a zero byte between them: a status, lines of fields, an empty line and a body. What the machine
/// asks for then is bounded, its messages are lines, its files can be read again, and it does not
/// order faster than its pauses allow. The same bytes as a certificate are read or refused.
pub fn acme(bytes: &[u8]) {
    cost::within(bytes.len(), cost::JSON_STEPS, 100, || leaf(bytes));
    let Some((setup, answers)) = bytes.split_first() else {
        return;
    };
    let Some(mut orders) = Orders::new(*setup) else {
        return;
    };
    let answers = answers.split(|byte| *byte == 0);
    let answers = answers.map(response).collect::<Vec<_>>();
    cost::within(bytes.len(), cost::JSON_STEPS, 1_000, || {
        orders.run(&mut answers.into_iter());
    });
    orders.restart();
}

/// Machine with its folder, in virtual time.
struct Orders {
    machine: Machine,
    plan: Plan,
    files: BTreeMap<String, Vec<u8>>,
    now: u64,
    offered: usize,
    /// Time of the last order that was taken, until a certificate comes of it.
    ordered: Option<u64>,
}

impl Orders {
    fn new(setup: u8) -> Option<Orders> {
        let names = if setup & 1 == 1 { 2 } else { 1 };
        let names = ["a.test", "b.test"].iter().take(names);
        let wanted = Wanted {
            names: names
                .map(|name| Identifier::parse(name))
                .collect::<Result<_, _>>()
                .ok()?,
            kind: match setup & 2 {
                0 => Kind::Http01,
                _ => Kind::TlsAlpn01,
            },
            port: if setup & 4 == 4 { 443 } else { 8443 },
        };
        let plan = Plan {
            directory: Url::parse("https://ca.test/dir")?,
            emails: Vec::new(),
            profile: None,
            eab: None,
            certificates: vec![wanted],
        };
        let now = UnixTime::from_millis(BEGIN.saturating_mul(1000));
        Some(Orders {
            machine: Machine::new(plan.clone(), &BTreeMap::new(), now),
            plan,
            files: BTreeMap::new(),
            now: BEGIN,
            offered: 0,
            ordered: None,
        })
    }

    fn wall(&self) -> UnixTime {
        UnixTime::from_millis(self.now.saturating_mul(1000))
    }

    /// Runs the machine until no answer is left.
    fn run(&mut self, answers: &mut dyn Iterator<Item = Response>) {
        for _ in 0..STEPS_MAX {
            match self.machine.next(self.wall(), &mut FixedKeys) {
                Step::Wait(until) => {
                    assert!(until > self.wall(), "a pause ends later");
                    self.now = until.as_secs();
                }
                Step::Request(request) => {
                    is_request(&request);
                    let Some(answer) = answers.next() else { return };
                    self.note(&request, &answer);
                    self.machine.answered(Ok(answer));
                }
                Step::Probe(names, _) => {
                    assert!(!names.is_empty());
                    self.machine.probed(Ok(()));
                }
                Step::Save(files) => self.save(files),
                Step::Offer(_) => {
                    self.offered = self.offered.saturating_add(1);
                    assert!(self.offered <= 2, "a challenge for each name");
                }
                Step::Withdraw => self.offered = 0,
                Step::Install(stored) => {
                    let is_saved = self.files.values().any(|file| *file == stored.pem);
                    assert!(is_saved, "a certificate is saved before it is served");
                    self.ordered = None;
                }
                Step::Report(report) => {
                    let text = report.text;
                    assert!(text.len() <= LINE_BYTES_MAX, "{} bytes", text.len());
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }
    }

    fn save(&mut self, files: Vec<File>) {
        for File { name, bytes } in files {
            let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
            assert!(name.bytes().all(is_plain), "{name}");
            match bytes {
                Some(bytes) => self.files.insert(name, bytes),
                None => self.files.remove(&name),
            };
        }
        self.machine.saved(Ok(()));
    }

    /// Checks the time of an order that the authority takes.
    fn note(&mut self, request: &Request, answer: &Response) {
        let is_order = payload(request).is_some_and(|payload| payload.get("identifiers").is_some());
        if is_order && (200..300).contains(&answer.status) {
            let next = self.ordered.map(|at| at.saturating_add(PAUSE_MIN));
            assert!(
                next.is_none_or(|next| self.now >= next),
                "an order {} s behind the last",
                self.now.saturating_sub(self.ordered.unwrap_or_default())
            );
            self.ordered = Some(self.now);
        }
    }

    /// Begins again with the files, as a process does that was killed.
    fn restart(&self) {
        let again = Machine::new(self.plan.clone(), &self.files, self.wall());
        let ends = |rows: Vec<acme::Row>| rows.into_iter().map(|row| row.not_after).collect();
        let told: Vec<_> = ends(acme::rows(&self.plan, &self.files, self.wall()));
        let known: Vec<_> = ends(again.rows(self.wall()));
        assert_eq!(told, known, "both read the same");
    }
}

/// Checks that a request can be sent as it is.
fn is_request(request: &Request) {
    let path = request.path.as_bytes();
    assert!(path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic));
    match request.method {
        Method::Get => assert!(request.body.is_empty()),
        Method::Post => assert!(Json::parse(&request.body).is_some()),
    }
}

/// Returns the payload of a signed request (RFC 7515 7.2.2).
fn payload(request: &Request) -> Option<Json> {
    let outer = Json::parse(&request.body)?;
    let payload = outer.get("payload").and_then(Json::text)?;
    Json::parse(&crate::policy::auth::base64::decode_url(
        payload.as_bytes(),
    )?)
}

/// Returns the response that these bytes describe.
fn response(bytes: &[u8]) -> Response {
    let mut response = Response {
        status: 200,
        ..Response::default()
    };
    let mut rest = bytes;
    let mut lines = 0_usize;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, others) = rest.split_at(end);
        rest = others.get(1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            response.fields.push((name.into(), value.into()));
        } else if lines == 0 {
            let status = crate::digits::parse(line).unwrap_or(200);
            response.status = u16::try_from(status.clamp(200, 599)).unwrap_or(200);
        }
        lines = lines.saturating_add(1);
    }
    response.body = rest.iter().take(BODY_BYTES).copied().collect();
    response
}

/// Keys that are always the same.
struct FixedKeys;

impl Keys for FixedKeys {
    fn generate(&mut self) -> Option<Vec<u8>> {
        Some(b"key".to_vec())
    }

    fn public(&mut self, _: &[u8]) -> Option<[u8; 65]> {
        Some(POINT)
    }

    fn sign(&mut self, _: &[u8], _: &[u8]) -> Option<[u8; 64]> {
        Some([7; 64])
    }

    fn random(&mut self) -> u64 {
        7
    }
}
