//! nginx. Bodies are streamed, as all others do: its default, a temporary file, would cost it more.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Assignment, CONNECTIONS_MAX, FULL, Gateway, Launch, program, version};
use crate::routes::Upstream;

pub fn gateway() -> Result<Gateway, String> {
    let program = program("nginx", "Debian package nginx")?;
    let version = format!("nginx {}", version(&program, "-v"));
    Ok(Gateway {
        name: "nginx",
        version,
        abilities: FULL,
        lacks: "",
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
        .map(|(name, value)| format!("    add_header {name} \"{value}\";\n"));
    let locations = assignment.routes.iter().map(|(route, upstream)| {
        let target = match upstream {
            Upstream::Plain => "http://plain",
            Upstream::Tls => "https://secure",
            Upstream::Stream => "http://stream",
        };
        format!("    location {route} {{ proxy_pass {target}; }}\n")
    });
    let pool = |name: &str, upstream| {
        let port = assignment.origin_port(upstream);
        format!(
            "  upstream {name} {{ server 127.0.0.1:{port}; keepalive 512; keepalive_requests 100000000; }}\n"
        )
    };
    let text = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {pid}; error_log {errors};\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n  access_log {log} combined buffer=32k flush=1s; keepalive_requests 100000000; keepalive_timeout 75s;\n  \
         client_max_body_size 0; limit_req_zone $binary_remote_addr zone=a:10m rate=1000000r/s;\n\
         {plain}{secure}{stream}  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n    \
         listen {https} ssl backlog=4096; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on;\n    \
         ssl_certificate {certificate}; ssl_certificate_key {key};\n    \
         limit_req zone=a burst=1000000 nodelay;\n    \
         proxy_http_version 1.1; proxy_request_buffering off; proxy_max_temp_file_size 0;\n    \
         proxy_set_header Connection \"\"; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    \
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; \
         proxy_set_header Via \"1.1 nginx\";\n    \
         proxy_ssl_trusted_certificate {certificate}; proxy_ssl_verify on; proxy_ssl_server_name on; proxy_ssl_name {name};\n\
         {added}{locations}  }}\n}}\n",
        pid = assignment.file("nginx.pid").display(),
        errors = assignment.file("nginx.err").display(),
        connections = 2 * CONNECTIONS_MAX,
        log = log.display(),
        plain = pool("plain", Upstream::Plain),
        secure = pool("secure", Upstream::Tls),
        stream = pool("stream", Upstream::Stream),
        port = assignment.port,
        https = assignment.https_address(),
        key = around.key.display(),
        certificate = around.certificate.display(),
        name = around.origin_name,
        added = added.collect::<String>(),
        locations = locations.collect::<String>(),
    );
    let mut command = Command::new(program);
    command
        .arg("-p")
        .arg(&around.folder)
        .arg("-c")
        .arg(assignment.write("nginx.conf", &text)?);
    Ok(Launch {
        command,
        logs: vec![log],
        stdout: None,
    })
}
