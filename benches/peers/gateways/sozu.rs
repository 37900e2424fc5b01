//! sozu, with one worker. Its rate limit counts connections, not requests.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Abilities, Assignment, CONNECTIONS_MAX, FULL, Gateway, Launch, program, version};
use crate::routes::Upstream;

pub fn gateway() -> Result<Gateway, String> {
    let program = program("sozu", "crates.io, cargo install sozu")?;
    let version = format!("sozu {}", version(&program, "--version"));
    let abilities = Abilities {
        tls_upstream: false,
        https: false,
        ..FULL
    };
    Ok(Gateway {
        name: "sozu",
        version,
        abilities,
        lacks: "rate limit by request",
        program,
        launch,
    })
}

fn launch(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let log = assignment.file("access.log");
    let port = assignment.port;
    let fields = &assignment.surroundings.fields;
    let edits = fields.iter().map(|(key, value)| {
        format!("{{ position = \"response\", key = \"{key}\", value = \"{value}\" }}")
    });
    let edits = edits.collect::<Vec<_>>().join(", ");
    let cluster = |name: &str, wanted: Upstream| {
        let routes = assignment.routes.iter().filter(|(_, upstream)| *upstream == wanted).map(|(route, _)| {
            format!(
                "  {{ address = \"127.0.0.1:{port}\", hostname = \"gate.test\", path = \"{route}\", path_type = \"PREFIX\", \
                 headers = [ {edits} ] }},\n"
            )
        });
        let origin = assignment.origin_port(wanted);
        format!(
            "[clusters.{name}]\nprotocol = \"http\"\nfrontends = [\n{}]\nbackends = [ {{ address = \"127.0.0.1:{origin}\" }} ]\n",
            routes.collect::<String>()
        )
    };
    let text = format!(
        "command_socket = \"{socket}\"\ncommand_buffer_size = 16384\nmax_command_buffer_size = 67108864\n\
         max_connections = {CONNECTIONS_MAX}\nmin_buffers = 1\nmax_buffers = {buffers}\nbuffer_size = 16393\n\
         log_level = \"info\"\nlog_target = \"stdout\"\naccess_logs_target = \"file://{log}\"\nworker_count = 1\n\
         worker_automatic_restart = false\nhandle_process_affinity = false\nactivate_listeners = true\n\
         [[listeners]]\nprotocol = \"http\"\naddress = \"127.0.0.1:{port}\"\n{plain}{stream}",
        socket = assignment.file("sozu.sock").display(),
        buffers = 3 * CONNECTIONS_MAX,
        log = log.display(),
        plain = cluster("plain", Upstream::Plain),
        stream = cluster("stream", Upstream::Stream),
    );
    let mut command = Command::new(program);
    command
        .arg("start")
        .arg("--config")
        .arg(assignment.write("sozu.toml", &text)?);
    Ok(Launch {
        command,
        logs: vec![log],
        stdout: None,
    })
}
