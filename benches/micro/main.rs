//! The micro benches: `cargo bench --bench micro`, with words to pick cases by their names.
//!
//! Nanoseconds move with the machine; `benches/instructions` counts the same cases' instructions, which do not. For it,
//! `--pass NAME N` does N passes of one case and nothing else, and `--list` names the cases.

#![allow(
    unreachable_pub,
    reason = "a bench exports nothing; `pub` marks what a module offers to its neighbours"
)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench that finds its case broken stops; what it prints is its purpose"
)]

mod engine;
mod exchanges;
mod harness;
mod parts;
mod tokens;

use std::process::ExitCode;

use self::harness::{Case, measure};

fn main() -> ExitCode {
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect::<Vec<_>>();
    let words = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match words.as_slice() {
        ["--list"] => cases().iter().for_each(|case| println!("{}", case.name)),
        ["--pass", name, times] => return pass(name, times),
        [option, ..] if option.starts_with('-') => {
            eprintln!(
                "micro: {option} is no option; words pick cases, --list names them, --pass NAME N runs one"
            );
            return ExitCode::FAILURE;
        }
        words => table(words),
    }
    ExitCode::SUCCESS
}

fn cases() -> Vec<Case> {
    exchanges::cases()
        .into_iter()
        .chain(parts::cases())
        .chain(tokens::cases())
        .collect()
}

fn pass(name: &str, times: &str) -> ExitCode {
    let case = cases().into_iter().find(|case| case.name == name);
    match (case, times.parse()) {
        (Some(case), Ok(times)) => {
            case.passes()(times);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("micro: --pass needs the name of a case and a number");
            ExitCode::FAILURE
        }
    }
}

fn table(words: &[&str]) {
    println!("| a pass of | ns, median | ns, fastest batch |\n|---|---|---|");
    for case in cases() {
        if words.is_empty() || words.iter().any(|word| case.name.contains(word)) {
            let name = case.name;
            let (median, fastest) = measure(&mut case.passes());
            println!("| {name} | {median:.0} | {fastest:.0} |");
        }
    }
}
