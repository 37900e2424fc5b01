//! Check before the measurement: a gateway answers each request that it is measured with, and adds the fields.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::gateways::Running;
use crate::load::work::Work;
use crate::loader::Loader;
use crate::scenarios::Scenario;

/// Right answers over one of the load's own connections, the first as it is made; a resumed session needs one before it.
pub fn answers(running: &Running, scenario: &Scenario) -> Result<(), String> {
    let work = Work {
        connections: 1,
        ..running.work(scenario)
    };
    let outcome = Loader::start(&work)
        .and_then(|mut load| load.order("count 1"))
        .map_err(|error| error.to_string())?;
    match outcome.errors {
        0 => Ok(()),
        _ => Err(format!("{}: {}", scenario.path, outcome.first_error)),
    }
}

/// Checks that a small answer has each of the fields once.
pub fn adds_fields(running: &Running) -> Result<(), String> {
    let head = head_of_answer(running)
        .map_err(|error| error.to_string())?
        .to_ascii_lowercase();
    for (name, value) in &running.assignment.surroundings.fields {
        let line = format!("\r\n{name}: {value}\r\n").to_ascii_lowercase();
        match head
            .matches(&format!("\r\n{}:", name.to_ascii_lowercase()))
            .count()
        {
            1 if head.contains(&line) => {}
            1 => return Err(format!("{name} has another value than tollgate's")),
            count => return Err(format!("{name} stands {count} times in the answer")),
        }
    }
    Ok(())
}

fn head_of_answer(running: &Running) -> io::Result<String> {
    let mut socket = TcpStream::connect(running.address())?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(b"GET /users/json HTTP/1.1\r\nHost: gate.test\r\n\r\n")?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some(end) = text.find("\r\n\r\n") {
            return Ok(text[..end + 2].to_owned());
        }
        match socket.read(&mut part)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&part[..n]),
        }
    }
}
