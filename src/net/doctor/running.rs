//! The gateway that runs with the configuration, asked by its admin listener.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::folders::unless_root;
use super::{CHECK, Examined, listed};
use crate::config::{Config, ListenAddress, Workers};
use crate::limits::WORKER_ANSWER;
use crate::net::admin::client;
use crate::observe::date::DateCache;
use crate::policy::auth::json::Json;
use crate::time::UnixTime;

/// Answer of the gateway that runs, and reasons why there is none.
#[derive(Default)]
pub(super) struct Running {
    /// Process of the gateway, if it runs with the file.
    pub(super) pid: Option<u64>,
    /// Limit of open files of that process, or of each of its workers.
    pub(super) descriptors: Option<u64>,
    /// Number of its workers; 0: it has none.
    pub(super) workers: usize,
    /// Addresses that give no answer, each with the reason.
    silent: Vec<(String, String)>,
    /// Sockets that are not for this user.
    closed: Vec<String>,
}

/// Asks at each address of the admin listener.
pub(super) fn ask(file: &Path, config: &Config, examined: &mut Examined) -> Running {
    let mut running = Running::default();
    let addresses = &config.admin.addresses;
    examined.begin(addresses.len());
    // A supervisor waits for a worker that hangs.
    let time = match config.workers {
        Workers::Count(1) => CHECK,
        _ => CHECK.saturating_add(Duration::from_millis(WORKER_ANSWER.as_millis())),
    };
    for address in addresses {
        match client::ask(address, "GET /state.json", time) {
            Ok(reply) if reply.status == 200 => {
                if let Some(state) = Json::parse(reply.body.as_bytes()) {
                    take(&mut running, (file, config), (address, &state), examined);
                    continue;
                }
                let problem = "its answer is no JSON".to_owned();
                running.silent.push((address.to_string(), problem));
            }
            Ok(reply) => {
                let problem = format!("GET /state.json is answered {}", reply.status);
                running.silent.push((address.to_string(), problem));
            }
            Err(_) if is_closed(address) => running.closed.push(address.to_string()),
            Err(reason) => running.silent.push((address.to_string(), reason)),
        }
    }
    running
}

/// Returns true if a unix socket is there and not for this user.
fn is_closed(address: &ListenAddress) -> bool {
    let ListenAddress::Unix(path) = address else {
        return false;
    };
    UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Takes the state of a gateway, and says what is wrong with it.
fn take(
    running: &mut Running,
    (file, on_disk): (&Path, &Config),
    (address, state): (&ListenAddress, &Json),
    examined: &mut Examined,
) {
    let what = format!("gateway at {address}");
    let config = state.get("config");
    let text = |name| {
        config
            .and_then(|config| config.get(name))
            .and_then(Json::text)
    };
    let pid = state.get("pid").and_then(number);
    let path = text("path").unwrap_or_default();
    if !is_same_file(file, Path::new(path), pid) {
        let problem = format!("it runs with the file {path:?}");
        let cure = "start the gateway with this file, or examine that file (--config)";
        return examined.find("gateway", &what, problem, cure);
    }
    // Another address of the same gateway.
    if pid.is_some() && running.pid == pid {
        return;
    }
    running.pid = pid;
    let descriptors = state.get("descriptors").and_then(|all| all.get("limit"));
    let count = |name| match state.get(name) {
        Some(Json::List(workers)) => workers.len(),
        _ => 0,
    };
    let answered = count("workers");
    running.workers = answered.saturating_add(count("silentWorkers"));
    // The state has the sum of the workers that answered.
    let answered = (answered as u64).max(1);
    running.descriptors = descriptors.and_then(|all| number(all)?.checked_div(answered));
    if let Some(error) = text("lastError") {
        let problem = format!("its last reload failed: {error}");
        let cure =
            "correct what it names, then tollgate reload; the file itself has no mistake now";
        examined.find("gateway", &what, problem, cure);
    } else if let Some(read_at) = text("readAt") {
        let changed = files(file, on_disk).filter(|file| is_newer(file, read_at));
        let changed = changed.map(|file| file.display().to_string());
        let changed = changed.collect::<Vec<_>>();
        if !changed.is_empty() {
            let problem = [
                &listed(&changed),
                " changed after the last read, without effect yet",
            ]
            .concat();
            examined.hint("gateway", &what, problem, "tollgate reload");
        }
    }
    waiting_workers(&what, running.workers.max(1), on_disk, examined);
    losses(&what, state, examined);
    if let Some(peer) = text("ignoredForwarder") {
        let problem = format!(
            "{peer} sends X-Forwarded-For, which is ignored: all clients behind it count as one"
        );
        let cure = format!(
            "if {peer} is your balancer, add it: \"trustedProxies\": [\"{peer}\"]; if none is there, a target may lead to this gateway itself"
        );
        examined.find("trustedProxies", &what, problem, &cure);
    }
}

/// Says that the file has another number of workers than run.
fn waiting_workers(what: &str, running: usize, on_disk: &Config, examined: &mut Examined) {
    if let Workers::Count(wanted) = on_disk.workers
        && wanted != running
    {
        let problem = format!("{running} workers run, and the file has {wanted}");
        examined.hint("gateway", what, problem, "tollgate upgrade");
    }
}

/// Says which workers hang, and whether lines of the access log were lost.
fn losses(what: &str, state: &Json, examined: &mut Examined) {
    if let Some(Json::List(silent)) = state.get("silentWorkers") {
        for pid in silent.iter().filter_map(number) {
            let problem = format!("its worker {pid} gives no answer in 5 s: its clients hang");
            let cure =
                format!("kill -9 {pid}: it is started again, and its connections alone are lost");
            examined.find("gateway", what, problem, &cure);
        }
    }
    let dropped = state
        .get("logLinesDropped")
        .and_then(number)
        .unwrap_or_default();
    if dropped > 0 {
        let problem = format!("it has dropped {dropped} lines of the access log since it started");
        let cure = "its lines \"access log:\" on stderr say why: make room on that disk, or look at the program that reads stdout";
        examined.hint("log", what, problem, cure);
    }
}

fn number(value: &Json) -> Option<u64> {
    match value {
        Json::Whole(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Returns the files and folders that a reload alone reads again.
fn files<'a>(file: &'a Path, config: &'a Config) -> impl Iterator<Item = &'a Path> {
    let included = config.included.iter().map(PathBuf::as_path);
    core::iter::once(file).chain(included)
}

/// Returns true if a file was changed after this time.
fn is_newer(file: &Path, read_at: &str) -> bool {
    let changed = fs::metadata(file).and_then(|of| of.modified()).ok();
    let since = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.is_some_and(|since| {
        let second = UnixTime::from_millis(since.as_secs().saturating_mul(1000));
        // Without the zone, so that the second of the reading itself is not later.
        DateCache::new().rfc3339(second).as_slice() > read_at.as_bytes()
    })
}

/// Says which addresses of the admin listener are silent. `is_running`: a gateway listens.
pub(super) fn report(running: &Running, is_running: bool, examined: &mut Examined) {
    for address in &running.closed {
        let problem =
            "it is for the user that the gateway runs as, so that its state is not looked at";
        let cure = unless_root(
            "run doctor as that user, or as root",
            "run doctor as that user",
        );
        examined.hint(
            "admin",
            &format!("admin {address}"),
            problem.to_owned(),
            cure,
        );
    }
    for (address, reason) in &running.silent {
        let what = format!("admin {address}");
        if is_running {
            let cure = "start the gateway again: it hangs, or runs with another \"admin\". First ask again after 10 s: others may have its admin connections";
            examined.find("admin", &what, reason.clone(), cure);
        } else {
            let problem = "no gateway runs there, so that its state is not looked at".to_owned();
            examined.hint("admin", &what, problem, "start the gateway, then ask again");
        }
    }
}

/// Returns true if a process names the file by `path`.
pub(super) fn is_same_file(file: &Path, path: &Path, pid: Option<u64>) -> bool {
    let folder = pid.map(|pid| PathBuf::from(format!("/proc/{pid}/cwd")));
    let there = folder.unwrap_or_default().join(path);
    match (file.canonicalize(), there.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        // The folder of another user's process is not shown.
        _ => file == path,
    }
}
