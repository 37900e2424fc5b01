//! The gateways under comparison: which are installed, what each is told, and a running one.
//!
//! All are told the same: one worker, kept-alive upstream connections, a limit by client address that nobody reaches, an
//! access log (buffered where it can be), and the 13 response fields that tollgate adds. Where a peer cannot do one of
//! these, its `lacks` says so and the table repeats it.

mod caddy;
mod haproxy;
mod nginx;
mod node;
mod relay;
mod sozu;
mod tollgate;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::children::{GATEWAY_CPU, Group, appending};
use crate::load::work::{Tls, Work};
use crate::procfs;
use crate::routes::Upstream;
use crate::scenarios::{Need, Scenario};
use crate::tokens::Guard;

/// The most connections any measurement opens to a gateway, with room to spare.
pub const CONNECTIONS_MAX: usize = 9000;

/// Configuration of a gateway, in a form that no gateway reads.
pub struct Assignment {
    pub port: u16,
    pub routes: Vec<(String, Upstream)>,
    pub surroundings: Surroundings,
}

/// Settings that are the same for all.
#[derive(Clone)]
pub struct Surroundings {
    /// For configurations and logs.
    pub folder: PathBuf,
    pub plain_port: u16,
    /// Its answers carry the 13 fields already.
    pub fat_port: u16,
    pub tls_port: u16,
    pub stream_port: u16,
    /// PEM of the certificate that the TLS origin and the gateways show and everybody trusts.
    pub certificate: PathBuf,
    /// PEM of its key.
    pub key: PathBuf,
    /// The names in it.
    pub origin_name: &'static str,
    pub gateway_name: &'static str,
    /// The routes that need a token, of gateways that know tokens.
    pub guards: Vec<Guard>,
    pub fields: Vec<(String, String)>,
}

/// Command line of a gateway.
pub struct Launch {
    pub command: Command,
    /// Files that grow with each request.
    pub logs: Vec<PathBuf>,
    /// Where its standard output goes, if that is such a file.
    pub stdout: Option<PathBuf>,
}

/// Gateway of the comparison.
#[derive(Clone)]
pub struct Gateway {
    /// As `--only` names it.
    pub name: &'static str,
    /// As the tables name it, with its version.
    pub version: String,
    pub abilities: Abilities,
    /// Features of the others that it does not have.
    pub lacks: &'static str,
    program: PathBuf,
    launch: fn(&Path, &Assignment) -> io::Result<Launch>,
}

/// Kinds of measurement that a gateway takes part in.
#[derive(Clone, Copy)]
pub struct Abilities {
    /// Adds the 13 fields.
    pub fields: bool,
    pub tls_upstream: bool,
    /// Verifies JSON Web Tokens.
    pub tokens: bool,
    /// Listens with TLS, too.
    pub https: bool,
    /// 5,000 routes.
    pub many_routes: bool,
    /// Counts among those whose slowest sets the fixed rate.
    pub fast: bool,
}

impl Abilities {
    /// Returns whether the gateway can do what a scenario needs.
    pub fn suit(&self, scenario: &Scenario) -> bool {
        match scenario.needs {
            Need::Nothing => true,
            Need::TlsUpstream => self.tls_upstream,
            Need::Token(_) => self.tokens,
            Need::Https => self.https,
            Need::ManyRoutes => self.many_routes,
        }
    }
}

const FULL: Abilities = Abilities {
    fields: true,
    tls_upstream: true,
    tokens: false,
    https: true,
    many_routes: true,
    fast: true,
};

/// All names, in the order of the tables.
pub const NAMES: [&str; 11] = [
    "relay",
    "relay-splice",
    "relay-fields",
    "tollgate",
    "tollgate-again",
    "nginx",
    "haproxy",
    "haproxy-tcp",
    "caddy",
    "sozu",
    "node",
];

/// All gateways that can be had here, and one line for each that cannot.
pub fn find() -> (Vec<Gateway>, Vec<String>) {
    let all = [
        relay::bare(),
        relay::splicing(),
        relay::with_fields(),
        tollgate::first(),
        tollgate::again(),
        nginx::gateway(),
        haproxy::http(),
        haproxy::tcp(),
        caddy::gateway(),
        sozu::gateway(),
        node::gateway(),
    ];
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for gateway in all {
        match gateway {
            Ok(gateway) => found.push(gateway),
            Err(reason) => missing.push(reason),
        }
    }
    (found, missing)
}

/// A gateway that runs.
pub struct Running {
    pub gateway: Gateway,
    pub assignment: Assignment,
    /// From its start to the first connection it took.
    pub start: Duration,
    pub pids: Vec<u32>,
    logs: Vec<PathBuf>,
    _group: Group,
}

impl Gateway {
    pub fn start(&self, assignment: Assignment) -> io::Result<Running> {
        let Launch {
            mut command,
            logs,
            stdout,
        } = (self.launch)(&self.program, &assignment)?;
        let errors = assignment
            .surroundings
            .folder
            .join(format!("{}.{}.err", self.name, assignment.port));
        match stdout {
            Some(path) => command.stdout(appending(&path)?),
            None => command.stdout(Stdio::null()),
        };
        command.stderr(appending(&errors)?);
        let begun_at = Instant::now();
        let mut group = Group::start(command, GATEWAY_CPU)?;
        let start =
            await_listener(assignment.address(), begun_at, &mut group).map_err(|error| {
                let said = std::fs::read_to_string(&errors).unwrap_or_default();
                let last = said
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or("nothing on stderr");
                io::Error::other(format!("{}: {error}: {last}", self.name))
            })?;
        let pids = procfs::members(group.id())?;
        Ok(Running {
            gateway: self.clone(),
            assignment,
            start,
            pids,
            logs,
            _group: group,
        })
    }

    /// Bytes of its program.
    pub fn binary_bytes(&self) -> u64 {
        std::fs::metadata(&self.program).map_or(0, |found| found.len())
    }

    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.assignment.address()
    }

    /// Where requests for the stream origin go: gateways know it by its route, relays have a port for each origin.
    pub fn stream_address(&self) -> SocketAddr {
        let is_relay = matches!(
            self.gateway.name,
            "relay" | "relay-splice" | "relay-fields" | "haproxy-tcp"
        );
        SocketAddr::from(([127, 0, 0, 1], self.assignment.port + u16::from(is_relay)))
    }

    /// The requests of a scenario, at whichever of its ports they go to.
    pub fn work(&self, scenario: &Scenario) -> Work {
        let Surroundings {
            certificate,
            gateway_name,
            guards,
            ..
        } = &self.assignment.surroundings;
        let tls = scenario.handshakes.map(|handshakes| Tls {
            handshakes,
            name: (*gateway_name).to_owned(),
            certificate: certificate.clone(),
        });
        let address = if tls.is_some() {
            self.assignment.https_address()
        } else {
            self.address()
        };
        let guard = guards
            .iter()
            .find(|guard| scenario.needs == Need::Token(guard.name));
        Work {
            tls,
            token: guard.map(|guard| guard.token.clone()),
            ..scenario.work(address)
        }
    }

    /// Processes may have been forked since the start.
    pub fn find_processes(&mut self) -> io::Result<()> {
        self.pids = procfs::members(self._group.id())?;
        Ok(())
    }

    /// Empties its logs, which would fill the disk.
    pub fn empty_logs(&self) {
        for log in &self.logs {
            if let Ok(file) = std::fs::File::options().write(true).open(log) {
                let _ = file.set_len(0);
            }
        }
    }
}

impl Assignment {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where it speaks TLS, if it can.
    pub fn https_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + 2))
    }

    /// A file of this gateway's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.surroundings
            .folder
            .join(format!("{}.{name}", self.port))
    }

    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.file(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    pub fn origin_port(&self, upstream: Upstream) -> u16 {
        let Surroundings {
            plain_port,
            tls_port,
            stream_port,
            ..
        } = self.surroundings;
        match upstream {
            Upstream::Plain => plain_port,
            Upstream::Tls => tls_port,
            Upstream::Stream => stream_port,
        }
    }
}

/// Tries to connect until somebody listens. The group's own death ends it.
pub fn await_listener(
    address: SocketAddr,
    begun_at: Instant,
    group: &mut Group,
) -> io::Result<Duration> {
    loop {
        if TcpStream::connect(address).is_ok() {
            return Ok(begun_at.elapsed());
        }
        if let Some(status) = group.child.try_wait()? {
            return Err(io::Error::other(format!("ended with {status}")));
        }
        if begun_at.elapsed() > Duration::from_secs(20) {
            return Err(io::Error::other("does not listen after 20 s"));
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// The path of a program, or the line that says what is missing.
fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    let folders = std::env::var("PATH").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let more = [format!("{home}/.cargo/bin"), "/usr/sbin".to_owned()];
    folders
        .split(':')
        .chain(more.iter().map(String::as_str))
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is not installed ({package}; benches/install gets it)"))
}

/// The first word of a program's own version line that starts with a digit.
fn version(program: &Path, argument: &str) -> String {
    let output = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .output();
    let text = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
    let word = text
        .split(|at: char| at.is_whitespace() || at == '/' || at == 'v')
        .find(is_version);
    word.map_or("unknown version".to_owned(), |word| {
        word.split(['-', '+']).next().unwrap_or(word).to_owned()
    })
}
