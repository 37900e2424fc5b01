//! Commands that ask the running gateway, over its admin listener.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tollgate::cli::{self, AdminAt};
use tollgate::config::{self, ListenAddress, LogLevel};
use tollgate::limits::ADMIN_RELOAD_TIMEOUT;
use tollgate::net::admin::client::{self, Reply};
use tollgate::policy::auth::json::Json;

use super::{INVALID, complain, complain_of, find, say};

/// Time in which a running gateway must answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Time between two looks of `top`.
const TOP_EVERY: Duration = Duration::from_secs(2);
/// Rows of each table of `top`.
const TOP_ROWS: usize = 15;

/// Said where the file does not say where the gateway is, which may run all the same.
const NAMED: &str = "tollgate: the address of the running gateway is read from this file; to reach the gateway nevertheless, name the \
                     address with --admin";

/// Returns the address of the admin listener of the running gateway; a unix socket, if there is
/// one.
fn admin_of(at: AdminAt) -> Result<ListenAddress, u8> {
    if let Some(address) = at.address {
        return Ok(address);
    }
    let path = find(at.config)?;
    let text = std::fs::read(&path).map_err(|error| {
        complain(&format!(
            "{}: cannot be read: {error}; name the file of the gateway, or its address with --admin",
            path.display()
        ));
        INVALID
    })?;
    let path = path.display().to_string();
    let env = |variable: &str| std::env::var(variable).ok();
    let access = config::load_admin(&text, &path, &env).map_err(|errors| {
        let code = complain_of(errors.iter().map(ToString::to_string).collect());
        complain(NAMED);
        code
    })?;
    let mut addresses = access.addresses.iter();
    let local = addresses.find(|address| !matches!(address, ListenAddress::Tcp(_)));
    local.or(access.addresses.first()).cloned().ok_or_else(|| {
        complain(&format!(
            "tollgate: {path} has no \"admin\", so the gateway has no admin listener; add \"admin\": \
             \"unix:/run/tollgate/admin.sock\" and send it SIGHUP, or name the address with --admin"
        ));
        INVALID
    })
}

/// Asks the running gateway. `request`: method and path.
fn ask(address: &ListenAddress, request: &str, time: Duration) -> Result<Reply, u8> {
    client::ask(address, request, time).map_err(|message| {
        complain(&format!("tollgate: {message}"));
        INVALID
    })
}

/// Sends a command to the running gateway, which takes it over a unix socket only.
fn command(at: AdminAt, request: &str, time: Duration) -> Result<Reply, u8> {
    let address = admin_of(at)?;
    if let ListenAddress::Tcp(_) = address {
        complain(&format!(
            "tollgate: over {address} the gateway can only be asked; a command needs a unix socket in \"admin\", such as \
             \"unix:/run/tollgate/admin.sock\""
        ));
        return Err(INVALID);
    }
    let reply = ask(&address, request, time)?;
    if reply.status == 200 {
        return Ok(reply);
    }
    complain(&reply.errors());
    Err(INVALID)
}

pub(crate) fn reload(at: AdminAt) -> Result<(), u8> {
    // The gateway itself says when the reload takes longer than its timeout.
    let time = Duration::from_millis(ADMIN_RELOAD_TIMEOUT.as_millis()) + ANSWER;
    let reply = command(at, "POST /reload", time)?;
    let summary = reply.member("summary").unwrap_or(reply.body);
    say(&format!("{}\n", summary.trim_end()))
}

pub(crate) fn upgrade(at: AdminAt) -> Result<(), u8> {
    let time = Duration::from_millis(ADMIN_RELOAD_TIMEOUT.as_millis()) + ANSWER;
    let reply = command(at, "POST /upgrade", time)?;
    let pid = reply.member("pid").unwrap_or(reply.body);
    say(&format!("process {pid} serves new clients\n"))
}

/// Prints the answer of the running gateway to a question. The exit code says whether it is 200.
pub(crate) fn answered(at: AdminAt, request: &str) -> Result<(), u8> {
    let reply = ask(&admin_of(at)?, request, ANSWER)?;
    let text = reply.body.trim_end();
    if reply.status == 200 {
        return say(&format!("{text}\n"));
    }
    complain(text);
    Err(INVALID)
}

/// Shows the state of the running gateway, once or until Ctrl-C.
pub(crate) fn top(at: AdminAt, once: bool) -> Result<(), u8> {
    let address = admin_of(at)?;
    // What goes into a file or a pipe is not refreshed.
    let once = once || !io::stdout().is_terminal();
    loop {
        let reply = ask(&address, "GET /state.json", ANSWER)?;
        let state = Json::parse(reply.body.as_bytes()).filter(|_| reply.status == 200);
        let Some(state) = state else {
            complain(reply.errors().trim_end());
            return Err(INVALID);
        };
        if once {
            return say(&cli::top::render(&state, usize::MAX));
        }
        // Home, then erase to the end: the screen does not flicker.
        say(&format!(
            "\x1b[H\x1b[J{}",
            cli::top::render(&state, TOP_ROWS)
        ))?;
        client::pause(TOP_EVERY);
    }
}

pub(crate) fn log_level(at: AdminAt, level: LogLevel, time: Option<String>) -> Result<(), u8> {
    let time = time.map_or(String::new(), |time| format!("&for={time}"));
    let request = format!("POST /log?level={}{time}", level.as_str());
    let reply = command(at, &request, ANSWER)?;
    let member = |name| reply.member(name).unwrap_or_default();
    say(&format!(
        "the log level is {} for {}\n",
        member("level"),
        member("for")
    ))
}
