//! tollgate: the binary that `TOLLGATE` names, else the one cargo built for this comparison. The same once more beside it shows
//! the noise; where `TOLLGATE_AGAIN` names another one, what has changed between the two.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Abilities, Assignment, CONNECTIONS_MAX, FULL, Gateway, Launch, version};
use crate::routes::Upstream;
use crate::tokens::{Guard, Key};

pub fn first() -> Result<Gateway, String> {
    found(
        std::env::var_os("TOLLGATE")
            .map_or(PathBuf::from(env!("CARGO_BIN_EXE_tollgate")), PathBuf::from),
    )
}

fn found(program: PathBuf) -> Result<Gateway, String> {
    if !program.is_file() {
        return Err(format!("tollgate: there is no {}", program.display()));
    }
    let version = format!("tollgate {}", version(&program, "--version"));
    Ok(Gateway {
        name: "tollgate",
        version,
        abilities: Abilities {
            tokens: true,
            ..FULL
        },
        lacks: "",
        program,
        launch,
    })
}

pub fn again() -> Result<Gateway, String> {
    let (version, gateway) = match std::env::var_os("TOLLGATE_AGAIN") {
        Some(program) => (
            format!("tollgate of {}", Path::new(&program).display()),
            found(program.into())?,
        ),
        None => ("tollgate again (A/A)".to_owned(), first()?),
    };
    Ok(Gateway {
        name: "tollgate-again",
        version,
        ..gateway
    })
}

fn launch(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let around = &assignment.surroundings;
    let (certificate, key) = (around.certificate.display(), around.key.display());
    let services = assignment.routes.iter().map(|(route, upstream)| {
        let port = assignment.origin_port(*upstream);
        let (scheme, tls) = match upstream {
            Upstream::Tls => {
                let name = around.origin_name;
                (
                    "https",
                    format!(
                        ", \"tls\": {{ \"ca\": \"{certificate}\", \"serverName\": \"{name}\" }}"
                    ),
                )
            }
            _ => ("http", String::new()),
        };
        format!(
            "{{ \"route\": \"{route}\", \"target\": \"{scheme}://127.0.0.1:{port}{route}\"{tls} }}"
        )
    });
    let origin = assignment.origin_port(Upstream::Plain);
    let guarded = around.guards.iter().map(|Guard { name, .. }| {
        format!("{{ \"route\": \"/{name}\", \"target\": \"http://127.0.0.1:{origin}/{name}\", \"auth\": \"{name}\" }}")
    });
    let services = services.chain(guarded).collect::<Vec<_>>().join(",\n    ");
    let providers = around
        .guards
        .iter()
        .map(provider)
        .collect::<Vec<_>>()
        .join(",\n    ");
    let (plain, https) = (assignment.address(), assignment.https_address());
    let text = format!(
        "{{ \"listen\": [ {{ \"address\": \"{plain}\" }}, {{ \"address\": \"{https}\", \"tls\": {{ \"certificates\": \
         [ {{ \"cert\": \"{certificate}\", \"key\": \"{key}\" }} ] }} }} ],\n  \"rateLimit\": {{ \"requests\": 1000000000 }},\n  \
         \"limits\": {{ \"connections\": {CONNECTIONS_MAX}, \"connectionsPerClient\": {CONNECTIONS_MAX} }},\n  \"auth\": {{\n    {providers} }},\n  \"services\": [\n    {services} ] }}\n"
    );
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(assignment.write("tollgate.json", &text)?)
        .env_remove("PORT");
    let log = assignment.file("access.log");
    Ok(Launch {
        command,
        logs: vec![log.clone()],
        stdout: Some(log),
    })
}

fn provider(Guard { name, key, .. }: &Guard) -> String {
    let key = match key {
        Key::Secret(secret) => format!("\"secret\": \"{secret}\""),
        Key::Public(path) => format!("\"publicKey\": \"{}\"", path.display()),
    };
    let algorithm = name.to_ascii_uppercase();
    format!(
        "\"{name}\": {{ \"type\": \"jwt\", {key}, \"algorithms\": [\"{algorithm}\"], \"issuer\": \"https://idp.test\", \
         \"audience\": \"api\", \"forwardClaims\": {{ \"sub\": \"X-User-Id\" }} }}"
    )
}
