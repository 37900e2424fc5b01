//! Caddy, held to one thread of Go code. It has no rate limit of its own.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Abilities, Assignment, FULL, Gateway, Launch, program, version};

pub fn gateway() -> Result<Gateway, String> {
    let program = program("caddy", "Debian package caddy")?;
    let version = format!("Caddy {}", version(&program, "version"));
    let abilities = Abilities {
        tls_upstream: false,
        fast: false,
        ..FULL
    };
    Ok(Gateway {
        name: "caddy",
        version,
        abilities,
        lacks: "rate limit",
        program,
        launch,
    })
}

fn launch(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let around = &assignment.surroundings;
    let log = assignment.file("access.log");
    let added = around
        .fields
        .iter()
        .map(|(name, value)| format!("  header {name} \"{value}\"\n"));
    let routes = assignment.routes.iter().map(|(route, upstream)| {
        let port = assignment.origin_port(*upstream);
        format!(
            "  handle {route}/* {{\n    reverse_proxy 127.0.0.1:{port} {{\n      transport http {{\n        \
             keepalive_idle_conns_per_host 512\n      }}\n    }}\n  }}\n"
        )
    });
    let text = format!(
        "{{\n  admin off\n  auto_https off\n}}\n(site) {{\n  bind 127.0.0.1\n  \
         log {{\n    output file {log} {{\n      roll_disabled\n    }}\n  }}\n{added}{routes}}}\n\
         http://:{port} {{\n  import site\n}}\n\
         https://{name}:{https} {{\n  tls {certificate} {key}\n  import site\n}}\n",
        port = assignment.port,
        name = around.gateway_name,
        https = assignment.https_address().port(),
        certificate = around.certificate.display(),
        key = around.key.display(),
        log = log.display(),
        added = added.collect::<String>(),
        routes = routes.collect::<String>(),
    );
    let mut command = Command::new(program);
    command
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(assignment.write("Caddyfile", &text)?);
    command
        .env("GOMAXPROCS", "1")
        .env("HOME", &around.folder)
        .env_remove("XDG_CONFIG_HOME");
    Ok(Launch {
        command,
        logs: vec![log],
        stdout: None,
    })
}
