//! Tables of the documents: their numbers are those of the constants.

use tollgate::limits::*;

/// Returns a number in the form of the documents.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number of bytes in the form of the documents.
fn bytes(number: usize) -> String {
    match number {
        _ if number.is_multiple_of(1 << 20) => format!("{} MB", number >> 20),
        _ => format!("{} KB", number >> 10),
    }
}

fn millis(duration: tollgate::time::Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// Returns the first words of each row, with the numbers of its first two columns. If these have
/// none, the numbers of all three columns.
fn bounds() -> Vec<(&'static str, Vec<String>)> {
    vec![
        (
            "client connections",
            vec![count(CONNECTIONS_DEFAULT), count(SURPLUS_CONNECTIONS)],
        ),
        (
            "idle upstream connections",
            vec![count(IDLE_UPSTREAMS_PER_TARGET)],
        ),
        (
            "request head, line, fields",
            vec![
                bytes(HEAD_BYTES_DEFAULT),
                bytes(REQUEST_LINE_BYTES_DEFAULT),
                count(FIELDS_DEFAULT),
            ],
        ),
        (
            "response head, 1xx responses",
            vec![
                bytes(RESPONSE_HEAD_BYTES),
                count(FIELDS_MAX),
                count(INTERIM_RESPONSES_MAX as usize),
                bytes(INTERIM_BYTES),
            ],
        ),
        (
            "options of `Connection`",
            vec![count(CONNECTION_OPTIONS_MAX)],
        ),
        (
            "digits of a length, of a chunk's size",
            vec![count(DECIMAL_DIGITS), count(CHUNK_SIZE_DIGITS)],
        ),
        (
            "chunk extensions and trailers",
            vec![bytes(CHUNK_EXTENSION_BYTES), count(TRAILER_FIELDS)],
        ),
        ("bytes held for a stalled reader", vec![bytes(READ_BYTES)]),
        ("pipes for large bodies", vec![count(PIPES_MAX)]),
        ("`Via: tollgate` in a request", vec![count(VIA_LOOPS_MAX)]),
        ("tries of a request", vec![count(RETRIES_DEFAULT as usize)]),
        ("targets of a service", vec![count(TARGETS_MAX)]),
        ("health checks under way", vec![count(CHECKS_AT_ONCE)]),
        (
            "bytes of a connection in one iteration",
            vec![
                bytes(BYTES_PER_ITERATION),
                count(PUMPS_PER_ITERATION.into()),
            ],
        ),
        (
            "handshakes in one iteration",
            vec![millis(HANDSHAKE_TIME_PER_ITERATION)],
        ),
        (
            "one iteration of the event loop",
            vec![millis(SLOW_ITERATION)],
        ),
        (
            "connections accepted in one iteration",
            vec![count(ACCEPTS_PER_ITERATION)],
        ),
        (
            "clients of the rate limit",
            vec![count(RATE_CLIENTS_DEFAULT)],
        ),
        (
            "reminders in the timer wheel",
            vec![count(REMINDERS_PER_TIMER)],
        ),
        (
            "token; its scopes",
            vec![
                bytes(AUTH_TOKEN_BYTES),
                bytes(AUTH_SCOPE_BYTES),
                count(AUTH_FORWARDED_HEADERS),
                bytes(AUTH_FORWARDED_BYTES),
            ],
        ),
        (
            "key set; its keys",
            vec![bytes(JWKS_BYTES), count(AUTH_KEYS), count(AUTH_KEYS_TRIED)],
        ),
        ("`kid` of a token or a key", vec![count(AUTH_KEY_ID_BYTES)]),
        ("levels of the JSON", vec![count(AUTH_JSON_DEPTH)]),
        (
            "questions to providers at once",
            vec![
                count(AUTH_LOOKUPS),
                count(PASSWORDS_WAITING),
                count(PASSWORDS_WAITING_PER_CLIENT),
            ],
        ),
        (
            "signatures that wait for their helper thread",
            vec![
                count(SIGNATURES_WAITING),
                count(SIGNATURES_WAITING_PER_CLIENT),
            ],
        ),
        (
            "questions about a token that go on",
            vec![count(TOKENS_LEFT_PER_CLIENT)],
        ),
        (
            "credentials of one client",
            vec![count(AUTH_FAILURES_DEFAULT as usize)],
        ),
        (
            "what a provider remembers",
            vec![bytes(AUTH_REMEMBERED_BYTES)],
        ),
        (
            "answer of an introspection or forward endpoint",
            vec![bytes(INTROSPECTION_BYTES), bytes(FORWARD_BODY_BYTES)],
        ),
        (
            "providers of a service",
            vec![count(AUTH_PROVIDERS_PER_SERVICE)],
        ),
        (
            "header edits of one kind",
            vec![
                count(HEADER_EDITS_MAX),
                bytes(HEADER_EDIT_VALUE_BYTES),
                bytes(HEADER_EDIT_LINES_BYTES),
                count(HEADER_EDIT_VARIABLES_MAX),
                count(HEADER_VARIABLE_BYTES),
            ],
        ),
        (
            "path of a route, of a target",
            vec![count(CONFIG_PATH_BYTES_MAX), count(UNIX_PATH_BYTES_MAX)],
        ),
        (
            "password or key of `tollgate hash`",
            vec![bytes(HASHED_LINE_BYTES)],
        ),
        (
            "addresses in `listen`",
            vec![count(LISTENERS_MAX), count(CERTIFICATES_MAX)],
        ),
        (
            "addresses in `admin`",
            vec![
                count(ADMIN_LISTENERS_MAX),
                count(ADMIN_CONNECTIONS),
                count(ADMIN_TCP_CONNECTIONS),
            ],
        ),
        (
            "request to the admin listener",
            vec![
                bytes(ADMIN_HEAD_BYTES),
                count(ADMIN_FIELDS),
                bytes(ADMIN_BODY_BYTES),
            ],
        ),
        (
            "errors in an answer of the admin listener",
            vec![bytes(ADMIN_RESPONSE_BYTES)],
        ),
        (
            "header of the PROXY protocol",
            vec![bytes(PROXY_HEADER_BYTES_MAX)],
        ),
        (
            "subject of a client's certificate",
            vec![bytes(CLIENT_SUBJECT_BYTES)],
        ),
        (
            "intermediate certificates that a client",
            vec![count(CLIENT_INTERMEDIATES_MAX), bytes(CLIENT_CHAIN_BYTES)],
        ),
        (
            "intermediate certificates that an upstream",
            vec![
                count(UPSTREAM_INTERMEDIATES_MAX),
                bytes(UPSTREAM_CHAIN_BYTES),
            ],
        ),
        (
            "changes of keys by a peer",
            vec![
                count(KEY_UPDATES_MAX.into()),
                bytes(KEY_UPDATE_SPACING_BYTES as usize),
            ],
        ),
        ("tickets of an upstream", vec![count(TICKETS_MAX.into())]),
        ("addresses of a name", vec![count(ADDRESSES_PER_TARGET)]),
        ("names looked up at once", vec![count(RESOLVER_THREADS)]),
        (
            "clients that each address remembers",
            vec![count(PASSIVE_CLIENTS)],
        ),
        (
            "access log that waits",
            vec![bytes(ACCESS_LOG_BYTES), bytes(ACCESS_FIELD_BYTES)],
        ),
        (
            "messages to the operator",
            vec![count(LOG_QUEUE_LINES), bytes(LOG_LINE_BYTES)],
        ),
        (
            "the configuration: file, levels",
            vec![bytes(CONFIG_BYTES_MAX), count(CONFIG_DEPTH_MAX)],
        ),
    ]
}

/// Returns the numbers of a text, each with its unit.
fn numbers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let digits = &rest[at..];
        let end = digits
            .char_indices()
            .find(|(at, letter)| {
                let is_group = *letter == ','
                    && digits[at + 1..].starts_with(|next: char| next.is_ascii_digit());
                !letter.is_ascii_digit() && !is_group
            })
            .map_or(digits.len(), |(at, _)| at);
        let (number, behind) = digits.split_at(end);
        let unit = [" KB", " MB", " ms"]
            .into_iter()
            .find(|unit| behind.starts_with(unit))
            .unwrap_or("");
        found.push(format!("{number}{unit}"));
        rest = behind;
    }
    found
}

#[test]
fn bounds_of_the_documents_are_those_of_the_code() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md"))
            .expect("the document");
    let (_, table) = document
        .split_once("| limit | default | what happens past it |")
        .expect("the table of bounds");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect::<Vec<_>>();
    assert!(rows.len() > 30, "{rows:?}");
    for (name, expected) in bounds() {
        let row = rows
            .iter()
            .find(|row| row[2..].starts_with(name))
            .unwrap_or_else(|| panic!("no row {name:?}"));
        let default = row.split(" | ").nth(1).expect("a second column");
        let mut found = numbers(default);
        if expected.len() > found.len() {
            found = numbers(row);
        }
        // Other words and numbers of a row may stand between, such as "two numbers of 1 a try".
        let mut rest = found.iter();
        let missing = expected
            .iter()
            .find(|number| !rest.any(|other| other == *number || unit_is_shared(other, number)));
        assert_eq!(missing, None, "{row}");
    }
}

/// Returns true if the unit is shared: in "8 and 16 KB" the first number has no unit of its own.
fn unit_is_shared(found: &str, expected: &str) -> bool {
    expected
        .split_once(' ')
        .is_some_and(|(number, _)| number == found)
}

#[test]
fn numbers_of_a_text() {
    assert_eq!(
        numbers("4,096, at 16 KB, 100; 2 MB each (1)"),
        ["4,096", "16 KB", "100", "2 MB", "1"]
    );
    assert_eq!(
        (count(65_536), count(100), bytes(16 << 20), bytes(8 << 10)),
        ("65,536".into(), "100".into(), "16 MB".into(), "8 KB".into())
    );
}

/// The table of the words of `end` has each word once, in the order of the source.
#[test]
fn each_word_of_end_has_a_row() {
    let readme = include_str!("../docs/operations.md");
    let (_, rest) = readme
        .split_once("## How a request ended")
        .expect("the section");
    let (section, _) = rest.split_once("\n## ").expect("the next section");
    let words = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|word| *word != "end");
    let all = tollgate::observe::access::Outcome::ALL
        .iter()
        .map(|outcome| outcome.as_str());
    assert_eq!(
        words.collect::<Vec<_>>(),
        all.collect::<Vec<_>>(),
        "rows of docs/operations.md, How a request ended, and outcomes of src/observe/access.rs, in one order"
    );
}
