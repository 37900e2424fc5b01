//! Gateway process, upstreams in threads, and clients with timeouts, so that no test can hang.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Timeout that is longer than any step takes: only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Path of the binary under test.
pub const TOLLGATE: &str = env!("CARGO_BIN_EXE_tollgate");

/// Folder of one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tollgate-it-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Text that a thread collects from a pipe.
#[derive(Clone, Default)]
pub struct Collected(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    text: String,
    /// Somebody may still write to the pipe.
    is_open: bool,
}

impl Collected {
    pub fn from(pipe: impl Read + Send + 'static) -> Collected {
        let collected = Collected::default();
        collected.locked().is_open = true;
        let (for_thread, mut reader) = (collected.clone(), BufReader::new(pipe));
        thread::spawn(move || {
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
                for_thread.locked().text.push_str(&line);
                for_thread.0.1.notify_all();
                line.clear();
            }
            for_thread.locked().is_open = false;
            for_thread.0.1.notify_all();
        });
        collected
    }

    fn locked(&self) -> MutexGuard<'_, Text> {
        self.0.0.lock().expect("no panic")
    }

    /// Returns the text so far. That of a process that has just ended may not be all read:
    /// [`Collected::whole`].
    pub fn text(&self) -> String {
        self.locked().text.clone()
    }

    /// Returns all of the text, once nobody can write any more.
    #[track_caller]
    pub fn whole(&self) -> String {
        self.until("the end", |collected| !collected.is_open)
    }

    /// Waits until the text contains `wanted`.
    #[track_caller]
    pub fn expect(&self, wanted: &str) -> String {
        self.until(wanted, |collected| collected.text.contains(wanted))
    }

    #[track_caller]
    fn until(&self, wanted: &str, is_there: impl Fn(&Text) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.locked();
        while !is_there(&collected) {
            let left = deadline.saturating_duration_since(Instant::now());
            let text = &collected.text;
            assert!(!left.is_zero(), "no {wanted:?} in {text:?}");
            collected = self.0.1.wait_timeout(collected, left).expect("no panic").0;
        }
        collected.text.clone()
    }
}

/// Running gateway.
pub struct Gateway {
    pub child: Child,
    pub address: SocketAddr,
    pub stdout: Collected,
    pub stderr: Collected,
    pub folder: Folder,
}

impl Gateway {
    /// Starts a gateway on a free port of 127.0.0.1. The configuration must not contain `listen`,
    /// which is added.
    pub fn start(config: &str) -> Gateway {
        Gateway::start_by(config, |command| command)
    }

    /// Starts a gateway like `start`; `prepare` changes the command.
    pub fn start_by(config: &str, prepare: impl Fn(&mut Command) -> &mut Command) -> Gateway {
        let config =
            |port| config.replacen('{', &format!("{{ \"listen\": \"127.0.0.1:{port}\","), 1);
        Gateway::start_in(Folder::new(), config, prepare)
    }

    /// Starts a gateway in this folder, with the configuration that is made for a port of
    /// 127.0.0.1.
    pub fn start_in(
        folder: Folder,
        config: impl Fn(u16) -> String,
        prepare: impl Fn(&mut Command) -> &mut Command,
    ) -> Gateway {
        // Another process may take the port before the gateway binds it. Then another port is
        // tried.
        for _ in 0..10 {
            let port = free_port();
            let file = folder.write("tollgate.json", &config(port));
            let mut command = Command::new(TOLLGATE);
            command
                .arg("--config")
                .arg(file)
                .env_remove("PORT")
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = prepare(&mut command).spawn().expect("the binary runs");
            let stdout = child
                .stdout
                .take()
                .map_or_else(Collected::default, Collected::from);
            let stderr = match child.stderr.take() {
                Some(pipe) => (Collected::from(pipe), true),
                None => (Collected::default(), false),
            };
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let deadline = Instant::now() + PATIENCE;
            while Instant::now() < deadline && child.try_wait().expect("a child").is_none() {
                // A connection of the test itself would be counted, so it is used only where stderr
                // is not captured.
                let (text, captured) = (stderr.0.text(), stderr.1);
                let up = if captured {
                    text.contains("running on")
                } else {
                    TcpStream::connect(address).is_ok()
                };
                if up {
                    return Gateway {
                        child,
                        address,
                        stdout,
                        stderr: stderr.0,
                        folder,
                    };
                }
                thread::sleep(Duration::from_millis(10));
            }
            let text = stderr.0.whole();
            assert!(
                text.contains("another process listens there"),
                "it did not start: {text}"
            );
        }
        panic!("no free port");
    }

    pub fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// Sends a request on a new connection, and returns the whole answer.
    pub fn ask(&self, request: &str) -> String {
        let mut client = self.connect();
        client.send(request);
        client.read_to_end()
    }

    pub fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"
        ))
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end of the process. Returns the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }

    /// Returns a figure of /proc/PID/status in kB.
    pub fn kilobytes(&self, name: &str) -> u64 {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a known figure");
        line.split_whitespace()
            .nth(1)
            .and_then(|kilobytes| kilobytes.parse().ok())
            .expect("a number")
    }

    /// Returns the CPU time so far in clock ticks (10 ms).
    pub fn ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a free port, once in this process. Ports below the range of outgoing connections (32768
/// and up) stay free until a process listens on them.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 8_000;
    // Two test processes at the same time begin at different ports.
    let start = std::process::id().wrapping_mul(37);
    for _ in 0..COUNT {
        let number = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(number) % COUNT;
        let port = u16::try_from(port).expect("below 20,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT - 1);
}

/// Connection of a client.
pub struct Client(pub TcpStream);

impl Client {
    pub fn to(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client(stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the peer takes it");
    }

    /// Reads until the text ends with `end`.
    #[track_caller]
    pub fn read_until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            let n = self.0.read(&mut byte).expect("no reset, no timeout");
            assert!(
                n > 0,
                "ended before {end:?}: {:?}",
                String::from_utf8_lossy(&bytes)
            );
            bytes.push(byte[0]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0
            .read_to_end(&mut bytes)
            .expect("no reset, no timeout");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Upstream that handles each connection in its own thread.
pub struct Origin {
    pub address: SocketAddr,
    pub connections: Arc<AtomicU32>,
}

impl Origin {
    pub fn start(serve: impl Fn(Client) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (connections, serve) = (Arc::new(AtomicU32::new(0)), Arc::new(serve));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
                thread::spawn(move || serve(Client(stream)));
            }
        });
        Origin {
            address,
            connections,
        }
    }

    /// Starts an upstream that answers every request without a body with `hi`.
    pub fn polite() -> Origin {
        Origin::start(|mut client| {
            while let Some(_head) = read_head(&mut client) {
                if client
                    .0
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                    .is_err()
                {
                    return;
                }
            }
        })
    }

    /// Returns a minimal configuration for this upstream, with further keys in front.
    pub fn config(&self, more: &str) -> String {
        format!(
            "{{ {more} \"services\": [ {{ \"route\": \"/a\", \"target\": \"http://{}\" }} ] }}",
            self.address
        )
    }
}

/// Reads a request head. Returns `None` when the connection ends.
pub fn read_head(client: &mut Client) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.0.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

pub const GET: &str = "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n";
