//! Command line of the comparison.

use lexopt::{Arg, Parser, ValueExt};

use crate::gateways;
use crate::scenarios;

pub const HELP: &str = "\
cargo bench --bench peers -- [OPTIONS]

  --rounds N        rounds of each measurement, interleaved over the gateways (5)
  --seconds S       length of one measurement (2)
  --only A,B        these gateways: relay, relay-splice, relay-fields, tollgate, tollgate-again, nginx, haproxy, haproxy-tcp, caddy,
                    sozu, node
  --scenario A,B    these measurements; --list names them
  --quick           one short round of the most telling measurements, about a minute
  --port N          the first of 110 ports (22100)
  --list            the measurements
  --help            this text

TOLLGATE=path picks a binary of tollgate; otherwise cargo has built one. TOLLGATE_AGAIN=path puts another build beside it.
benches/install gets the peers.
";

pub struct Options {
    pub rounds: usize,
    pub seconds: f64,
    pub only: Option<Vec<String>>,
    pub scenarios: Option<Vec<String>>,
    pub port: u16,
}

pub enum Order {
    Compare(Options),
    /// Print the help and exit.
    Say(String),
}

const QUICK: [&str; 8] = [
    "small",
    "https",
    "handshakes",
    "resumed",
    "post-100k",
    "get-10m",
    "fixed-rate",
    "syscalls",
];

pub fn parse(arguments: &[String]) -> Result<Order, lexopt::Error> {
    let mut options = Options {
        rounds: 5,
        seconds: 2.0,
        only: None,
        scenarios: None,
        port: 22100,
    };
    let mut parser = Parser::from_args(arguments);
    let list = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("rounds") => options.rounds = parser.value()?.parse_with(at_least_one)?,
            Arg::Long("seconds") => options.seconds = parser.value()?.parse()?,
            Arg::Long("only") => options.only = Some(list(parser.value()?.string()?)),
            Arg::Long("scenario") => options.scenarios = Some(list(parser.value()?.string()?)),
            Arg::Long("port") => options.port = parser.value()?.parse()?,
            Arg::Long("quick") => {
                (options.rounds, options.seconds) = (1, 0.5);
                options
                    .scenarios
                    .get_or_insert_with(|| QUICK.map(str::to_owned).to_vec());
            }
            Arg::Long("list") => return Ok(Order::Say(scenarios::list())),
            Arg::Long("help") | Arg::Short('h') => return Ok(Order::Say(HELP.to_owned())),
            // cargo passes it to every bench.
            Arg::Long("bench") => {}
            other => return Err(other.unexpected()),
        }
    }
    check(&options)?;
    Ok(Order::Compare(options))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| "at least one round".to_owned())
}

fn check(options: &Options) -> Result<(), lexopt::Error> {
    for name in options.scenarios.iter().flatten() {
        if !scenarios::names().any(|known| known == name) {
            return Err(format!("no measurement is called {name:?}; --list names them").into());
        }
    }
    for name in options.only.iter().flatten() {
        if !gateways::NAMES.contains(&name.as_str()) {
            return Err(format!(
                "no gateway is called {name:?}; there are {}",
                gateways::NAMES.join(", ")
            )
            .into());
        }
    }
    if !(0.05..=600.0).contains(&options.seconds) {
        return Err("--seconds: between 0.05 and 600".into());
    }
    Ok(())
}

impl Options {
    pub fn wants(&self, scenario: &str) -> bool {
        self.scenarios
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name == scenario))
    }
}
