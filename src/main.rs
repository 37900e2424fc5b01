//! From the command line to a running gateway, and to an exit code: 0 clean stop, 1 configuration,
//! 2 usage, 3 cannot bind, 130 stopped by a second signal.

mod remote;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tollgate::cli::files::Formatted;
use tollgate::cli::{self, Command};
use tollgate::config::{self, Config, ListenAddress};
use tollgate::demo;
use tollgate::diff;
use tollgate::explain::{self, Asked};
use tollgate::limits::{HASHED_LINE_BYTES, PBKDF2_SALT_BYTES};
use tollgate::net::admin::client;
use tollgate::net::config_files::ConfigFiles;
use tollgate::net::doctor::{Examined, Subject};
use tollgate::net::inherited::{self, Inherited};
use tollgate::net::upgrade::Program;
use tollgate::net::{
    self, ConfigSource, Loaded, RunError, Setup, event_loop::Stopped, supervisor, workers::logger,
};
use tollgate::policy::auth::api_key::KeyHash;
use tollgate::policy::auth::basic::PasswordHash;
use tollgate::prompt::{self, Answer};
use tollgate::record;

use self::remote::{answered, log_level, reload, top, upgrade};

/// Text of `--version`: version, commit and target. `build.rs` sets the last two.
const VERSION: &str = concat!(
    "tollgate ",
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TOLLGATE_COMMIT"),
    ", ",
    env!("TOLLGATE_TARGET"),
    ")\n"
);

const INVALID: u8 = 1;
const USAGE: u8 = 2;
const CANNOT_BIND: u8 = 3;
/// Exit code of `diff` when the configurations differ.
const DIFFERENT: u8 = 1;
/// Exit code of `diff` for an error.
const FAILED: u8 = 2;
const STOPPED_NOW: u8 = 130;

fn main() -> ExitCode {
    if let Err(error) = net::signals::outlive_user_signals() {
        complain(&format!(
            "cannot handle SIGHUP, SIGUSR1 and SIGUSR2: {error}"
        ));
    }
    let outcome = match cli::parse(std::env::args_os()) {
        Ok(Command::Help) => say(cli::HELP),
        Ok(Command::Version) => say(VERSION),
        Ok(Command::Check { config }) => source(config, None).and_then(|source| {
            let config = read(&source)?;
            say(&config::check::describe(&config))?;
            say(&net::doctor::warnings(&config))?;
            say(&net::memory::describe(&config))?;
            say(&net::admin::metrics::describe(&config))?;
            let file = source.path.display().to_string();
            say(&config::check::verdict(&config, &file))
        }),
        Ok(Command::Run { config, admin }) => run_file(config, admin),
        Ok(Command::Doctor { config, json }) => doctor(config, json),
        Ok(Command::Reload { at }) => reload(at),
        Ok(Command::Upgrade { at }) => upgrade(at),
        Ok(Command::Health { at, live }) => answered(at, client::health(live)),
        Ok(Command::Log { at, level, time }) => log_level(at, level, time),
        Ok(Command::Top { at, once }) => top(at, once),
        Ok(Command::Why { at, id }) => answered(at, &client::why(&id)),
        Ok(Command::Hash { api_key }) => hash(api_key),
        Ok(Command::Diff { old, new, log }) => compare(&old, &new, log),
        Ok(Command::Explain(config, asked, json)) => explain(config, &asked, json),
        Ok(Command::Replay { file }) => replay(&file),
        Ok(Command::Init) => init(),
        Ok(Command::Fmt { file, check }) => format(file, check),
        Ok(Command::Schema) => say(&config::schema::json_schema::write()),
        Ok(Command::Demo) => run_demo(),
        Err(error) => {
            complain(&error.to_string());
            Err(USAGE)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => ExitCode::from(code),
    }
}

/// Reads and checks the configuration. All errors go to stderr.
fn load(given: Option<PathBuf>) -> Result<Config, u8> {
    read(&source(given, None)?)
}

/// Compares the configuration with the machine and the network, and prints what is wrong.
fn doctor(given: Option<PathBuf>, json: bool) -> Result<(), u8> {
    let file = find(given)?;
    let files = ConfigFiles::on_disk();
    let loaded = source_of(file.clone(), None).load(&files);
    let examined = match &loaded {
        Ok(loaded) => Examined::of(&Subject {
            file: &file,
            files: &files.paths(),
            loaded,
        }),
        Err(errors) => Examined::invalid(errors.clone()),
    };
    say(&if json {
        examined.json()
    } else {
        examined.text()
    })?;
    match examined.is_clean() {
        true => Ok(()),
        false => Err(INVALID),
    }
}

/// Prints what differs between two configurations. The exit code says whether something does.
fn compare(old: &Path, new: &Path, log: Option<PathBuf>) -> Result<(), u8> {
    // The errors of both files, not only those of the first.
    let read = |path| ConfigFiles::on_disk().load(path);
    let (old, new) = (read(old), read(new));
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let errors = [old.err(), new.err()].into_iter().flatten();
            complain_of(errors.flatten().collect());
            return Err(FAILED);
        }
    };
    let log = log.map(|path| diff::open(&path)).transpose();
    let mut log = log.map_err(|message| {
        complain(&message);
        FAILED
    })?;
    let changes = diff::describe(&old, &new);
    say(changes
        .as_deref()
        .unwrap_or("the configurations do not differ\n"))?;
    if let Some(log) = &mut log {
        let report = diff::replay(&old, &new, log).map_err(|error| {
            complain(&format!("the access log cannot be read: {error}"));
            FAILED
        })?;
        say(&format!("\n{report}"))?;
    }
    changes.map_or(Ok(()), |_| Err(DIFFERENT))
}

fn find(given: Option<PathBuf>) -> Result<PathBuf, u8> {
    cli::find_config(given).map_err(|advice| {
        complain(&advice);
        INVALID
    })
}

/// Finds the configuration file.
fn source(given: Option<PathBuf>, admin: Option<ListenAddress>) -> Result<ConfigSource, u8> {
    Ok(source_of(find(given)?, admin))
}

/// Names the configuration file. Its reader is used at the start and by each reload. `admin`: the
/// address of the command line, in place of those in the file.
fn source_of(path: PathBuf, admin: Option<ListenAddress>) -> ConfigSource {
    let named = path.clone();
    let read = move |files: &ConfigFiles| {
        let mut config = files.load(&named)?;
        if let Some(workers) = inherited::workers() {
            config.become_worker(workers);
            return Ok(config);
        }
        if let Some(address) = &admin {
            config
                .replace_admin(address.clone())
                .map_err(|message| vec![format!("--admin {message}")])?;
        }
        Ok(config)
    };
    ConfigSource::new(path, Box::new(read))
}

fn read(source: &ConfigSource) -> Result<Config, u8> {
    (source.read)(&ConfigFiles::on_disk()).map_err(complain_of)
}

fn complain_of(errors: Vec<String>) -> u8 {
    for error in errors {
        complain(&error);
    }
    INVALID
}

/// Runs the gateway with the configuration in a file. A worker runs the one that its supervisor has
/// accepted, whatever has become of the file.
fn run_file(given: Option<PathBuf>, admin: Option<ListenAddress>) -> Result<(), u8> {
    let mut inherited = inherited()?;
    let files = inherited.config_files();
    let mut source = match files.paths().into_iter().next() {
        Some(path) => source_of(path, admin),
        None => source(given, admin)?,
    };
    let loaded = source.load(&files).map_err(complain_of)?;
    run(loaded, files, Some(source), inherited)
}

fn inherited() -> Result<Inherited, u8> {
    Inherited::from_environment().map_err(|error| {
        complain(&error);
        CANNOT_BIND
    })
}

fn run(
    loaded: Loaded,
    files: ConfigFiles,
    source: Option<ConfigSource>,
    inherited: Inherited,
) -> Result<(), u8> {
    // Errors were printed before the logger starts, which then owns stderr.
    let config = &loaded.config;
    let program = Program::of_process().map_err(|error| {
        complain(&format!("cannot tell the name of the program: {error}"));
        CANNOT_BIND
    })?;
    logger::start(logger::filter(config.log_level)).map_err(|error| {
        complain(&format!("cannot start the log: {error}"));
        CANNOT_BIND
    })?;
    // The supervisor says it for all workers.
    let warnings = if config.is_worker() {
        Vec::new()
    } else {
        config.warnings()
    };
    for warning in warnings {
        log::warn!("{warning}");
    }
    let count = net::worker_count(config);
    let setup = Setup {
        loaded,
        source,
        inherited,
        program,
    };
    let ended = match count {
        1 => {
            drop(files);
            net::run(setup)
        }
        _ => supervisor::run(setup, files),
    };
    let outcome = match ended {
        Ok(Stopped::Clean) => Ok(()),
        Ok(Stopped::Now) => Err(STOPPED_NOW),
        Err(RunError::Bind(reason)) => {
            log::error!("{reason}");
            Err(CANNOT_BIND)
        }
        Err(RunError::Store(reason)) => {
            log::error!("{reason}");
            Err(INVALID)
        }
        Err(RunError::Io(error)) => {
            log::error!("the event loop failed: {error}");
            Err(CANNOT_BIND)
        }
    };
    logger::flush(Duration::from_secs(1));
    outcome
}

fn explain(config: Option<PathBuf>, asked: &Asked, json: bool) -> Result<(), u8> {
    let config = load(config)?;
    let told = explain::explain(&config, asked, net::clock::Clock::new().wall());
    let told = told.map_err(|message| usage(&format!("tollgate explain: {message}")))?;
    say_bytes(&if json {
        told.json()
    } else {
        told.text().into_bytes()
    })
}

/// Prints the hash of the password or API key in the first line of the input.
fn hash(api_key: bool) -> Result<(), u8> {
    let (what, question) = if api_key {
        ("API key", "API key: ")
    } else {
        ("password", "Password: ")
    };
    let line = match prompt::secret_line(question, HASHED_LINE_BYTES) {
        Ok(Answer::Line(line)) => line,
        Ok(Answer::Interrupted) => return Err(STOPPED_NOW),
        Err(error) => {
            return Err(usage(&format!(
                "tollgate hash: cannot read the input: {error}"
            )));
        }
    };
    let length = line.len();
    if length == 0 {
        return Err(usage(&format!(
            "tollgate hash: the first line of the input is empty; it must be the {what} that is to be hashed"
        )));
    }
    if length > HASHED_LINE_BYTES {
        return Err(usage(&format!(
            "tollgate hash: the first line of the input is longer than {HASHED_LINE_BYTES} bytes, too long for a {what}"
        )));
    }
    if api_key {
        return say(&format!("{}\n", KeyHash::new(&line)));
    }
    let mut salt = [0; PBKDF2_SALT_BYTES];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| usage("tollgate hash: the system has no random numbers"))?;
    say(&format!("{}\n", PasswordHash::new(&line, &salt)))
}

/// Replays a record. The exit code says whether the request ends as in the record.
fn replay(path: &Path) -> Result<(), u8> {
    let replayed = record::replay_file(path).map_err(|error| {
        complain(&error);
        FAILED
    })?;
    say(&replayed.text)?;
    replayed.is_same.then_some(()).ok_or(DIFFERENT)
}

/// Writes a configuration to start from into the current directory.
fn init() -> Result<(), u8> {
    let path = Path::new(cli::SEARCHED[0]);
    cli::files::write_starter(path).map_err(|message| {
        complain(&format!("tollgate init: {message}"));
        INVALID
    })?;
    say(
        "tollgate.json is written; change it, and see with \"tollgate check\" where each route leads\n",
    )
}

/// Brings a configuration into its usual form.
fn format(file: Option<PathBuf>, check: bool) -> Result<(), u8> {
    let path = find(file)?;
    match cli::files::format_file(&path, check).map_err(complain_of)? {
        Formatted::Changed if check => {
            complain(&format!(
                "{} is not in its usual form; run \"tollgate fmt\"",
                path.display()
            ));
            Err(INVALID)
        }
        Formatted::Changed | Formatted::Unchanged => Ok(()),
    }
}

fn usage(text: &str) -> u8 {
    complain(text);
    USAGE
}

fn run_demo() -> Result<(), u8> {
    let echo = demo::start_echo().map_err(|error| {
        complain(&format!("cannot start the echo service: {error}"));
        CANNOT_BIND
    })?;
    let text = demo::configuration(echo);
    let files = ConfigFiles::on_disk();
    let config = files.check(text.as_bytes(), "demo").map_err(complain_of)?;
    complain(&demo::hints(demo::port(&config)));
    let loaded = Loaded::new(config, &files).map_err(complain_of)?;
    run(loaded, files, None, inherited()?)
}

/// Prints to stdout. A reader that has closed the pipe is no error.
fn say(text: &str) -> Result<(), u8> {
    say_bytes(text.as_bytes())
}

fn say_bytes(text: &[u8]) -> Result<(), u8> {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text).and_then(|()| out.flush());
    Ok(())
}

/// Prints to stderr, before the logger starts. If stderr is closed, the exit code remains.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
