//! Answers of the origin, prebuilt: by name, each without and with the fields that a gateway adds.

use tollgate::policy::security::SecurityHeaders;

use crate::message;

/// Body of the small answer.
pub const JSON_BYTES: usize = 120;

const DELAYED: usize = 5;

struct Answer {
    name: &'static [u8],
    lean: Vec<u8>,
    fat: Vec<u8>,
}

pub struct Answers(Vec<Answer>);

/// Fields (13) that tollgate adds to a response, and that every peer is configured to add.
pub fn added_fields() -> Vec<(String, String)> {
    let mut fields = vec![("Access-Control-Allow-Origin".to_owned(), "*".to_owned())];
    fields.extend(SecurityHeaders::helmet_defaults().fields);
    fields
}

impl Answers {
    pub fn new() -> Answers {
        let json =
            format!("{{\"id\":1,\"name\":\"{}\"}}", "a".repeat(JSON_BYTES - 18)).into_bytes();
        debug_assert_eq!(json.len(), JSON_BYTES);
        let sized = |name: &'static str, body: &[u8]| {
            answer(name, "application/json", Some(body.len()), body)
        };
        let filler = |bytes: usize| vec![b'x'; bytes];
        let answers = vec![
            sized("json", &json),
            sized("10k", &filler(10 << 10)),
            sized("100k", &filler(100 << 10)),
            sized("10m", &filler(10 << 20)),
            answer(
                "chunked",
                "text/plain",
                None,
                &message::chunked(&filler(10 << 10), 1 << 10),
            ),
            sized("delay", &json),
        ];
        debug_assert!(
            answers
                .get(DELAYED)
                .is_some_and(|answer| answer.name == b"delay")
        );
        Answers(answers)
    }

    /// Returns the answer of this name; without one, the small answer.
    pub fn find(&self, name: &[u8]) -> usize {
        self.0
            .iter()
            .position(|answer| answer.name == name)
            .unwrap_or(0)
    }

    pub fn is_delayed(&self, index: usize) -> bool {
        index == DELAYED
    }

    pub fn bytes(&self, index: usize, fat: bool) -> &[u8] {
        if fat {
            &self.0[index].fat
        } else {
            &self.0[index].lean
        }
    }
}

fn answer(name: &'static str, content_type: &str, length: Option<usize>, body: &[u8]) -> Answer {
    let framing = length.map_or("Transfer-Encoding: chunked".to_owned(), |n| {
        format!("Content-Length: {n}")
    });
    // A fixed date: only its length counts here.
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: {content_type}\r\n{framing}\r\n"
    );
    let added = added_fields()
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect::<String>();
    let join = |more: &str| [head.as_bytes(), more.as_bytes(), b"\r\n", body].concat();
    Answer {
        name: name.as_bytes(),
        lean: join(""),
        fat: join(&added),
    }
}
