//! Caddy, held to one thread of Go code. It has no rate limit of its own.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Abilities, Assignment, FULL, Gateway, Launch, program, version};

pub fn gateway() -> Result<Gateway, String> {
    let program = program("caddy", "Debian package caddy")?;
    let version = format!("Caddy {}", version(&program, "version"));
    let abilities = Abilities { tls_upstream: false, fast: false, ..FULL };
    Ok(Gateway { name: "caddy", version, abilities, lacks: "rate limit", program, launch })
}

fn launch(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let log = assignment.file("access.log");
    let added = assignment.surroundings.fields.iter().map(|(name, value)| format!("  header {name} \"{value}\"\n"));
    let routes = assignment.routes.iter().map(|(route, upstream)| {
        let port = assignment.origin_port(*upstream);
        format!(
            "  handle {route}/* {{\n    reverse_proxy 127.0.0.1:{port} {{\n      transport http {{\n        \
             keepalive_idle_conns_per_host 512\n      }}\n    }}\n  }}\n"
        )
    });
    let text = format!(
        "{{\n  admin off\n  auto_https off\n}}\nhttp://:{port} {{\n  bind 127.0.0.1\n  \
         log {{\n    output file {log} {{\n      roll_disabled\n    }}\n  }}\n{added}{routes}}}\n",
        port = assignment.port,
        log = log.display(),
        added = added.collect::<String>(),
        routes = routes.collect::<String>(),
    );
    let mut command = Command::new(program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(assignment.write("Caddyfile", &text)?);
    command.env("GOMAXPROCS", "1").env("HOME", &assignment.surroundings.folder).env_remove("XDG_CONFIG_HOME");
    Ok(Launch { command, logs: vec![log], stdout: None })
}
