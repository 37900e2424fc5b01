//! Memory bound: `tollgate check` prints it, and the real binary stays below it in the worst case.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::world::*;

const CONNECTIONS: usize = 64;
const CLIENTS: u32 = 1_500;

/// Returns the bound that `check` prints, in KB.
fn stated(config: &str) -> u64 {
    let folder = Folder::new();
    let file = folder.write("tollgate.json", config);
    let output = Command::new(TOLLGATE)
        .args(["check".as_ref(), "--config".as_ref(), file.as_os_str()])
        .output();
    let text = String::from_utf8(output.expect("the binary runs").stdout).expect("text");
    let (_, rest) = text
        .split_once("\nmemory     at most ")
        .unwrap_or_else(|| panic!("no bound in {text}"));
    let mut words = rest.split(' ');
    let number = words
        .next()
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number");
    assert_eq!(words.next(), Some("MB"), "{rest}");
    number << 10
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
    let bound = stated(&config);
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
