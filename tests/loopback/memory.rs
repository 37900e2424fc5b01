//! Memory bound: `tollgate check` prints it, and the real binary stays below it in the worst case.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::world::*;

const CONNECTIONS: usize = 64;
const CLIENTS: u32 = 1_500;

/// Returns what `check` prints, in KB: the memory of busy connections, and the bound.
fn stated(config: &str) -> (u64, u64) {
    let folder = Folder::new();
    let file = folder.write("tollgate.json", config);
    let output = Command::new(TOLLGATE)
        .args(["check".as_ref(), "--config".as_ref(), file.as_os_str()])
        .output();
    let text = String::from_utf8(output.expect("the binary runs").stdout).expect("text");
    let behind = |mark: &str| {
        let (_, rest) = text
            .split_once(mark)
            .unwrap_or_else(|| panic!("no {mark:?} in {text}"));
        let mut words = rest.split(' ');
        let number = words
            .next()
            .and_then(|number| number.parse::<u64>().ok())
            .expect("a number");
        assert_eq!(words.next(), Some("MB"), "{rest}");
        number << 10
    };
    (
        behind("\nmemory     needs about "),
        behind("busy connections; "),
    )
}

/// Makes the buffers of the kernel small for a stalled reader, so that the gateway must hold the
/// rest.
fn narrow(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_recv_buffer_size(4 << 10)
        .expect("a size");
}

/// Writes until the peer closes; most of the time no byte is taken.
fn flood(mut stream: TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(None).expect("no timeout");
    while stream.write_all(bytes).is_ok() {}
}

/// Answers with a large head and endless small chunks, and never reads the request's body.
fn answer_endlessly(mut client: Client) {
    narrow(&client.0);
    if read_head(&mut client).is_some() {
        client.send(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            "x".repeat(30_000)
        ));
        flood(client.0, "1\r\ny\r\n".repeat(10_000).as_bytes());
    }
}

#[test]
fn driven_to_its_worst_it_stays_below_what_check_says() {
    let origin = Origin::start(answer_endlessly);
    let config = origin.config(&format!(
        "\"limits\": {{ \"connections\": {CONNECTIONS} }}, \"trustedProxies\": [\"127.0.0.0/8\"],
         \"rateLimit\": {{ \"requests\": 1000000, \"window\": \"1h\", \"maxClients\": {} }},",
        CLIENTS / 2
    ));
    let (_, bound) = stated(&config);
    let (_unread, writer) = std::io::pipe().expect("a pipe");
    let writer = std::sync::Mutex::new(Some(writer));
    let gateway = Gateway::start_by(&config, |command| {
        match writer.lock().expect("no panic").take() {
            Some(stdout) => command.stdout(stdout),
            None => command,
        }
    });
    let start = gateway.kilobytes("VmRSS:");

    // Twice as many clients as the rate limit keeps, each with a long line for a log that is not
    // read.
    let long = "u".repeat(4_000);
    let mut client = gateway.connect();
    for n in 0..CLIENTS {
        let [a, b, c, d] = n.to_be_bytes();
        client.send(format!(
            "GET /none HTTP/1.1\r\nHost: gate\r\nX-Forwarded-For: 10.{b}.{c}.{d}\r\nUser-Agent: {a}{long}\r\n\r\n"
        ));
        client.read_until("\"data\":null}");
    }
    drop(client);

    // Every connection stalls in both directions: heads near their limit, an upload that is not
    // read, an answer that is not read. Both bodies are chunked, because a body with a length would
    // wait in pipes of the kernel.
    let padding = "p".repeat(6_000);
    let head = format!(
        "POST /a?{padding} HTTP/1.1\r\nHost: gate\r\nUser-Agent: {padding}\r\nX: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        "x".repeat(3_000)
    );
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect()).collect();
    for client in &clients {
        narrow(&client.0);
        let (mut stream, head) = (client.0.try_clone().expect("a descriptor"), head.clone());
        std::thread::spawn(move || {
            stream
                .write_all(head.as_bytes())
                .expect("the head is taken");
            flood(
                stream,
                format!("10000\r\n{}\r\n", "z".repeat(64 << 10)).as_bytes(),
            );
        });
    }
    // Connections beyond the limit get a 503, and their clients do not close.
    let surplus: Vec<Client> = (0..CONNECTIONS).map(|_| gateway.connect()).collect();
    let (begun, mut quiet, mut peak) = (Instant::now(), 0, 0);
    while quiet < 10 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
        let now = gateway.kilobytes("VmHWM:");
        quiet = if now == peak { quiet + 1 } else { 0 };
        peak = now;
    }
    drop((clients, surplus));
    let grown = peak - start;
    assert!(
        grown <= bound,
        "{grown} KB are more than the {bound} KB that check states"
    );
    // Each stalled connection must hold at least one read in each direction; otherwise the test
    // does not show the worst case.
    assert!(
        grown > CONNECTIONS as u64 * 2 * 64,
        "only {grown} KB: the connections do not stall"
    );
}

/// Reads a request, and answers when the others have theirs.
fn answer_late(mut client: Client) {
    while read_head(&mut client).is_some() {
        std::thread::sleep(Duration::from_millis(500));
        let body = format!("{}end", "x".repeat(8 << 10));
        client.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
}

/// Reads a response of [`answer_late`].
fn read_whole(client: &mut Client) {
    let (mut bytes, mut scratch) = (Vec::new(), [0; 16 << 10]);
    while !bytes.ends_with(b"end") {
        let count = client.0.read(&mut scratch).expect("a response");
        assert!(count > 0, "the response is cut");
        bytes.extend_from_slice(&scratch[..count]);
    }
}

#[test]
fn busy_connections_need_no_more_than_check_says() {
    const BUSY: usize = 256;
    const PROGRAM_KILOBYTES: u64 = 3 << 10;
    let origin = Origin::start(answer_late);
    let config = origin.config("\"rateLimit\": false,");
    let (usual, _) = stated(&config);
    let gateway = Gateway::start(&config);
    let start = gateway.kilobytes("RssAnon:");
    let mut clients: Vec<Client> = (0..BUSY).map(|_| gateway.connect()).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send("GET /a/x HTTP/1.1\r\nHost: gate\r\n\r\n");
        }
        for client in &mut clients {
            read_whole(client);
        }
    }
    let grown = gateway.kilobytes("RssAnon:") - start;
    assert!(
        grown + PROGRAM_KILOBYTES <= usual,
        "{grown} KB beside the program are more than the {usual} KB that check states"
    );
    assert!(
        grown > BUSY as u64,
        "only {grown} KB: no request was in flight"
    );
}

#[test]
fn many_services_need_about_what_check_says() {
    const SERVICES: usize = 8_000;
    let config = |count: usize| {
        let services = (0..count).map(|number| {
            format!(
                "{{ \"route\": \"/r{number}\", \"target\": \"http://127.0.0.1:{}\" }}",
                9_000 + number % 4_000
            )
        });
        let services = services.collect::<Vec<_>>().join(",");
        format!("{{ \"services\": [ {services} ] }}")
    };
    let needs = |count| {
        let config = config(count);
        let used = Gateway::start(&config).kilobytes("RssAnon:");
        (stated(&config).0, used)
    };
    let ((few_stated, few_used), (stated, used)) = (needs(1), needs(SERVICES));
    let (stated, used) = (stated - few_stated, used - few_used);
    assert!(
        used <= stated * 2 && stated <= used * 2,
        "{used} KB are used, and check states {stated} KB"
    );
}
