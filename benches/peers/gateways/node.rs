//! The Node original of the parity tests: four routes, no kept-alive upstream connections, as it was written.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Abilities, Assignment, Gateway, Launch, program, version};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity");

pub fn gateway() -> Result<Gateway, String> {
    let program = program("node", "Debian package nodejs")?;
    if !Path::new(FOLDER).join("node_modules/express").is_dir() {
        return Err(
            "the Node original has no packages (npm; benches/install gets them)".to_owned(),
        );
    }
    let version = format!("the original on Node {}", version(&program, "--version"));
    let abilities = Abilities {
        fields: true,
        tls_upstream: false,
        tokens: false,
        https: false,
        many_routes: false,
        fast: false,
    };
    Ok(Gateway {
        name: "node",
        version,
        abilities,
        lacks: "kept-alive upstream connections",
        program,
        launch,
    })
}

fn launch(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let log = assignment.file("access.log");
    let mut command = Command::new(program);
    command
        .arg(Path::new(FOLDER).join("original.js"))
        .env("HOST", "127.0.0.1")
        .env("PORT", assignment.port.to_string())
        .env(
            "UPSTREAM",
            format!("http://127.0.0.1:{}", assignment.surroundings.plain_port),
        )
        .env("RATE_LIMIT", "1000000000");
    Ok(Launch {
        command,
        logs: vec![log.clone()],
        stdout: Some(log),
    })
}
