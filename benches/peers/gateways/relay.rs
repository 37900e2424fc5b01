//! The bare relay (`relay.rs`): the limit, once as it is, once with splice, and once before an origin that sends the 13 fields
//! itself.

use std::io;
use std::path::PathBuf;

use super::{Abilities, Assignment, Gateway, Launch};
use crate::children::this_binary;

const ABILITIES: Abilities = Abilities {
    fields: false,
    tls_upstream: false,
    tokens: false,
    https: false,
    many_routes: false,
    fast: true,
};

pub fn bare() -> Result<Gateway, String> {
    Ok(Gateway {
        name: "relay",
        version: "bare relay".to_owned(),
        abilities: ABILITIES,
        lacks: "",
        program: PathBuf::new(),
        launch: |_, assignment| launch(assignment, assignment.surroundings.plain_port),
    })
}

pub fn splicing() -> Result<Gateway, String> {
    Ok(Gateway {
        name: "relay-splice",
        version: "bare relay, splice".to_owned(),
        abilities: Abilities {
            fast: false,
            ..ABILITIES
        },
        lacks: "",
        program: PathBuf::new(),
        launch: |_, assignment| {
            launch_with(
                &["--splice"],
                assignment,
                assignment.surroundings.plain_port,
            )
        },
    })
}

pub fn with_fields() -> Result<Gateway, String> {
    Ok(Gateway {
        name: "relay-fields",
        version: "bare relay, origin sends the fields".to_owned(),
        abilities: Abilities {
            fields: true,
            ..ABILITIES
        },
        lacks: "",
        program: PathBuf::new(),
        launch: |_, assignment| launch(assignment, assignment.surroundings.fat_port),
    })
}

fn launch(assignment: &Assignment, origin: u16) -> io::Result<Launch> {
    launch_with(&[], assignment, origin)
}

fn launch_with(options: &[&str], assignment: &Assignment, origin: u16) -> io::Result<Launch> {
    let pair = |port: u16, origin: u16| format!("127.0.0.1:{port}=127.0.0.1:{origin}");
    let pairs = [
        pair(assignment.port, origin),
        pair(assignment.port + 1, assignment.surroundings.stream_port),
    ];
    let arguments = options
        .iter()
        .copied()
        .map(str::to_owned)
        .chain(pairs)
        .collect::<Vec<_>>();
    let command = this_binary("relay", &arguments)?;
    Ok(Launch {
        command,
        logs: Vec::new(),
        stdout: None,
    })
}
