//! Logs of the real binary: stdout has only the access log, and neither log can delay a request.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use super::world::*;

#[test]
fn combined_lines_and_nothing_else_on_stdout() {
    let origin = Origin::polite();
    let mut gateway = Gateway::start(&origin.config(""));
    gateway.ask("GET /a?x=\"1\" HTTP/1.1\r\nHost: gate\r\nReferer: http://r/\r\nUser-Agent: te\x01st\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n");
    gateway.ask("GET /a?x=%221%22 HTTP/1.1\r\nHost: gate\r\nReferer: http://r/\r\nUser-Agent: t\\est\r\nAuthorization: Basic YW5uOnNlY3JldA==\r\nConnection: close\r\n\r\n");
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
    let log = gateway.stdout.expect("Cest");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines[0].contains("\" 400 ") && lines[0].contains("\"GET /a?x=\\x221\\x22 HTTP/1.1\""),
        "{}",
        lines[0]
    );
    let (start, rest) = lines[1].split_once('[').expect("a date");
    let (date, rest) = rest.split_once(']').expect("a date");
    assert_eq!(start, "127.0.0.1 - ann ");
    assert!(date.len() == 26 && date.ends_with(" +0000"), "{date}");
    assert_eq!(
        rest,
        " \"GET /a?x=%221%22 HTTP/1.1\" 200 2 \"http://r/\" \"t\\x5Cest\""
    );
    assert!(!log.contains("secret"));
}

#[test]
fn json_lines_are_json() {
    let origin = Origin::polite();
    let gateway = Gateway::start(&origin.config("\"accessLog\": \"json\","));
    gateway.get("/a?b=c");
    gateway.get("/nowhere");
    let log = gateway.stdout.expect("no_route");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        (
            lines[0]["end"].as_str(),
            lines[0]["path"].as_str(),
            lines[0]["status"].as_u64()
        ),
        (Some("ok"), Some("/a?b=c"), Some(200))
    );
    assert_eq!(
        (
            lines[0]["service"].as_str(),
            lines[0]["upstreamStatus"].as_u64(),
            lines[0]["bytesOut"].as_u64()
        ),
        (Some("/a"), Some(200), Some(2))
    );
    assert_eq!(
        (lines[1]["end"].as_str(), lines[1]["service"].is_null()),
        (Some("no_route"), true)
    );
    let time = lines[0]["time"].as_str().expect("a time");
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
        "{time}"
    );
}

/// A response whose fault comes with its head: not a byte of it is out, so the client gets a 502.
#[test]
fn a_malformed_chunk_that_comes_with_the_head_is_a_502() {
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n";
    let origin = Origin::start(|mut client| {
        if read_head(&mut client).is_some() {
            let _ = client.0.write_all(RESPONSE);
        }
    });
    let gateway = Gateway::start(&origin.config("\"accessLog\": \"json\", \"rateLimit\": false,"));
    for _ in 0..20 {
        let answer = gateway.get("/a");
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(answer.ends_with("}"), "{answer}");
    }
    gateway.get("/nowhere");
    let log = gateway.stdout.expect("no_route");
    let lines = log.lines().filter(|line| line.contains("/a"));
    let failed = lines.filter(|line| {
        line.contains("\"status\":502,") && line.contains("\"end\":\"upstream_malformed\"")
    });
    assert_eq!(failed.count(), 20, "{log}");
    let stderr = gateway
        .stderr
        .expect("malformed response: chunk size; 502 to 127.0.0.1");
    assert!(!stderr.contains("was cut"), "{stderr}");
}

/// A line of stderr begins with its time, and under systemd with its priority, which the journal reads.
#[test]
fn lines_of_stderr_have_a_time_or_a_priority() {
    let origin = Origin::polite();
    for (journal, is_priority) in [(None, false), (Some("8:1"), true)] {
        let gateway = Gateway::start_in(
            Folder::new(),
            |port| origin.config(&format!("\"listen\": \"127.0.0.1:{port}\",")),
            |command| match journal {
                Some(stream) => command.env("JOURNAL_STREAM", stream),
                None => command.env_remove("JOURNAL_STREAM"),
            },
        );
        gateway.ask("GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n");
        let text = gateway.stderr.expect("Content-Length is no number");
        for line in text.lines() {
            let has_priority = line.starts_with("<4>") || line.starts_with("<6>");
            let start = line.get(..24).unwrap_or_default();
            let has_time = start.ends_with('Z') && start.get(10..11) == Some("T");
            assert_eq!(
                (has_priority, has_time),
                (is_priority, !is_priority),
                "{line}"
            );
        }
        assert!(text.lines().count() >= 2, "{text}");
    }
}

#[test]
fn a_stdout_that_nobody_reads_holds_nothing_up() {
    let origin = Origin::polite();
    let mut gateway = Gateway::start_by(&origin.config("\"rateLimit\": false,"), |command| {
        command.stdout(Stdio::null())
    });
    // stdout is a pipe of 64 KB that is not read.
    drop(std::mem::take(&mut gateway.stdout));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let writer = std::sync::Mutex::new(Some(writer));
    let gateway = Gateway::start_by(&origin.config("\"rateLimit\": false,"), |command| {
        command.stdout(writer.lock().expect("no panic").take().expect("one start"))
    });
    let mut client = gateway.connect();
    let long = "x".repeat(2_000);
    for _ in 0..1_500 {
        client.send(format!(
            "GET /nowhere/{long} HTTP/1.1\r\nHost: gate\r\n\r\n"
        ));
        client.read_until("\"data\":null}");
    }
    drop(reader);
    client.send(GET);
    client.read_until("\r\n\r\nhi");
    gateway.stderr.expect("lines dropped");
}

#[test]
fn closed_logs_hold_nothing_up() {
    let origin = Origin::polite();
    let gateway = Gateway::start_by(&origin.config(""), |command| {
        command.stdout(Stdio::piped()).stderr(Stdio::piped())
    });
    drop(gateway);
    let (out_reader, out) = std::io::pipe().expect("a pipe");
    let (err_reader, err) = std::io::pipe().expect("a pipe");
    let pipes = std::sync::Mutex::new(Some((out, err)));
    let mut gateway = Gateway::start_by(&origin.config("\"logLevel\": \"debug\","), |command| {
        let (out, err) = pipes.lock().expect("no panic").take().expect("one start");
        command.stdout(out).stderr(err)
    });
    drop((out_reader, err_reader));
    for _ in 0..5 {
        assert!(gateway.get("/a").ends_with("\r\n\r\nhi"));
        assert!(gateway.get("/a/../b").starts_with("HTTP/1.1 400 "));
    }
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_stderr_that_takes_nothing_costs_lines_and_no_more() {
    let origin = Origin::polite();
    // The second target is dead, so each request to it logs a line.
    let services = format!(
        "{{ \"rateLimit\": false, \"services\": [ {{ \"route\": \"/a\", \"target\": \"http://{}\" }}, \
         {{ \"route\": \"/dead\", \"target\": \"http://127.0.0.1:1\" }} ] }}",
        origin.address
    );
    // stderr is closed, a full disk, a pipe without a reader, and a pipe that is not read.
    for stderr in ["2>&-", "2>/dev/full", "2> >(:)", "2> >(exec sleep 20)"] {
        let mut gateway = Gateway::start_by(&services, |command| {
            let given: Vec<_> = command.get_args().map(OsStr::to_owned).collect();
            *command = Command::new("bash");
            command
                .args(["-c", &format!("exec \"$@\" {stderr}"), "bash", TOLLGATE])
                .args(given);
            command
                .env_remove("PORT")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
        });
        let mut client = gateway.connect();
        // These are more lines than a pipe and the queue can hold.
        for _ in 0..3_000 {
            client.send("GET /dead HTTP/1.1\r\nHost: gate\r\n\r\n");
            client.read_until("\"data\":null}");
        }
        assert!(gateway.get("/a").ends_with("\r\n\r\nhi"), "{stderr}");
        gateway.signal("TERM");
        assert_eq!(gateway.wait(), Some(0), "{stderr}");
    }
}

/// Requests of all kinds: text, true if the request line can be parsed, and true if the route
/// changes with the target of `/a`.
const LOGGED: [(&str, bool, bool); 11] = [
    (
        "GET /a?x=1 HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n",
        true,
        true,
    ),
    (
        "GET /a/%2e/b HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n",
        true,
        false,
    ),
    (
        "POST /a HTTP/1.1\r\nHost: gate:80\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        true,
        true,
    ),
    (
        "POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        true,
        true,
    ),
    ("GET /a HTTP/1.0\r\n\r\n", true, true),
    (
        "GET /b HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n",
        true,
        false,
    ),
    (
        "OPTIONS /a HTTP/1.1\r\nHost: gate\r\nOrigin: http://o\r\nAccess-Control-Request-Method: GET\r\nConnection: close\r\n\r\n",
        true,
        false,
    ),
    (
        "GET http://gate/a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n",
        true,
        true,
    ),
    (
        "GET /a\"\\ HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n",
        true,
        false,
    ),
    ("GET /a HTTP/3.0\r\nHost: gate\r\n\r\n", true, false),
    ("nonsense\r\n\r\n", false, false),
];

#[test]
fn diff_reads_the_whole_log_of_a_gateway() {
    let (origin, other) = (Origin::polite(), Origin::polite());
    for format in ["combined", "json"] {
        let config = origin.config(&format!("\"accessLog\": \"{format}\","));
        let mut gateway = Gateway::start(&config);
        for (request, ..) in LOGGED {
            gateway.ask(request);
        }
        gateway.signal("TERM");
        assert_eq!(gateway.wait(), Some(0));
        let log = gateway.stdout.whole();
        assert_eq!(log.lines().count(), LOGGED.len(), "{log}");
        let folder = Folder::new();
        folder.write("access.log", &log);
        folder.write("old.json", &origin.config(""));
        folder.write("new.json", &other.config(""));
        let output = Command::new(TOLLGATE)
            .current_dir(&folder.0)
            .args(["diff", "old.json", "new.json", "--log", "access.log"])
            .output()
            .expect("the binary runs");
        let out = String::from_utf8_lossy(&output.stdout);
        let readable = LOGGED.iter().filter(|logged| logged.1).count();
        let moved = LOGGED.iter().filter(|logged| logged.2).count();
        assert!(
            out.contains(&format!("{moved} of {readable} requests go elsewhere\n")),
            "{out}{log}"
        );
        assert!(!out.contains("of no known format"), "{out}{log}");
        let unread = LOGGED.len() - readable;
        let unread = format!("{unread} line without a whole request line, the first is line");
        assert!(out.contains(&unread), "{out}{log}");
    }
}

/// A folder that takes no records costs the records, one warning, and nothing else.
#[test]
fn records_without_room_are_lost_with_one_warning() {
    let origin = Origin::start(drop);
    // A full file system needs the right to mount one; without it, that half is left out.
    for is_full in [false, true] {
        let folder = Folder::new();
        let records = folder.0.join("records");
        let mut mount = None;
        if is_full {
            std::fs::create_dir(&records).expect("a folder");
            let Some(mounted) = Mount::tmpfs(&records) else {
                continue;
            };
            mount = Some(mounted);
            let _ = std::fs::write(records.join("filler"), vec![0; 1 << 20]);
        }
        let keys = format!(
            "\"record\": {{ \"on\": [\"5xx\"], \"dir\": \"{}\" }}, \"rateLimit\": false,",
            records.display()
        );
        let config = origin.config(&keys);
        let mut gateway = Gateway::start_in(
            folder,
            |port| config.replacen('{', &format!("{{ \"listen\": \"127.0.0.1:{port}\","), 1),
            |command| command,
        );
        for _ in 0..20 {
            assert!(gateway.get("/a").starts_with("HTTP/1.1 502 "));
        }
        gateway.stderr.expect("no record of a failed request in");
        let cure = if is_full {
            "make room there"
        } else {
            "create the directory"
        };
        gateway.stderr.expect(cure);
        if is_full {
            std::fs::remove_file(records.join("filler")).expect("a file");
        } else {
            // Another reason is told, too.
            std::fs::write(&records, "").expect("a file");
            assert!(gateway.get("/a").starts_with("HTTP/1.1 502 "));
            gateway.stderr.expect("look at the directory");
            std::fs::remove_file(&records).expect("a file");
            std::fs::create_dir(&records).expect("a folder");
        }
        assert!(gateway.get("/a").starts_with("HTTP/1.1 502 "));
        let text = gateway.stderr.expect("records are written to");
        let reasons = if is_full { 1 } else { 2 };
        assert_eq!(text.matches("no record of").count(), reasons, "{text}");
        let names = std::fs::read_dir(&records).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        assert!(names.filter(|name| name.ends_with(".record")).count() > 0);
        gateway.signal("TERM");
        assert_eq!(gateway.wait(), Some(0));
        drop(mount);
    }
}

/// A small file system in memory, while this lives.
struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(path: &std::path::Path) -> Option<Mount> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        mounted.ok()?.success().then(|| Mount(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
