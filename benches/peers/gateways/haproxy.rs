//! HAProxy as an HTTP proxy, and as a TCP proxy. Its log goes into a ring in memory, without a header: the cheapest it has.
//! A line still costs it a system call, since it asks for its process id each time.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Abilities, Assignment, CONNECTIONS_MAX, FULL, Gateway, Launch, program, version};
use crate::routes::Upstream;

const PACKAGE: &str = "Debian package haproxy";

pub fn http() -> Result<Gateway, String> {
    let program = program("haproxy", PACKAGE)?;
    let version = format!("HAProxy {}", version(&program, "-v"));
    Ok(Gateway {
        name: "haproxy",
        version,
        abilities: FULL,
        lacks: "",
        program,
        launch: launch_http,
    })
}

pub fn tcp() -> Result<Gateway, String> {
    let program = program("haproxy", PACKAGE)?;
    let version = format!("HAProxy {}, TCP mode", version(&program, "-v"));
    let abilities = Abilities {
        fields: false,
        tls_upstream: false,
        tokens: false,
        https: false,
        many_routes: false,
        fast: true,
    };
    Ok(Gateway {
        name: "haproxy-tcp",
        version,
        abilities,
        lacks: "HTTP, limit, fields, a log line a request",
        program,
        launch: launch_tcp,
    })
}

fn preamble(mode: &str) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn {CONNECTIONS_MAX}\n\
         ring lines\n  format raw\n  maxlen 1024\n  size 1048576\n\
         defaults\n  mode {mode}\n  log ring@lines format raw local0\n  timeout connect 5s\n  timeout client 75s\n  timeout server 60s\n"
    )
}

fn launch_http(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let around = &assignment.surroundings;
    let backend = |upstream: Upstream| match upstream {
        Upstream::Plain => "plain",
        Upstream::Tls => "secure",
        Upstream::Stream => "stream",
    };
    let map = assignment
        .routes
        .iter()
        .map(|(route, upstream)| format!("{route}/ {}\n", backend(*upstream)));
    let map = assignment.write("haproxy.map", &map.collect::<String>())?;
    // Its quoting knows no other way for a single quote than double ones.
    let added = around
        .fields
        .iter()
        .map(|(name, value)| format!("  http-response set-header {name} \"{value}\"\n"));
    let server = |upstream, more: &str| {
        let port = assignment.origin_port(upstream);
        format!(
            "backend {}\n  server origin 127.0.0.1:{port}{more}\n",
            backend(upstream)
        )
    };
    let tls = format!(
        " ssl verify required ca-file {} sni str({name}) verifyhost {name}",
        around.certificate.display(),
        name = around.origin_name
    );
    let text = format!(
        "{preamble}  option httplog\n  http-reuse always\n  option forwardfor\n  timeout http-keep-alive 75s\n\
         frontend front\n  bind 127.0.0.1:{port} backlog 4096\n\
         \x20 bind {https} ssl crt {certificate} ssl-min-ver TLSv1.2 backlog 4096\n\
         \x20 stick-table type ip size 64k expire 60s store http_req_rate(60s)\n  http-request track-sc0 src\n\
         \x20 http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000000 }}\n\
         \x20 http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 http-request set-header Via \"1.1 haproxy\"\n{added}\
         \x20 use_backend %[path,map_beg({map},plain)]\n{plain}{secure}{stream}",
        preamble = preamble("http"),
        port = assignment.port,
        https = assignment.https_address(),
        certificate = around.certificate.display(),
        added = added.collect::<String>(),
        map = map.display(),
        plain = server(Upstream::Plain, ""),
        secure = server(Upstream::Tls, &tls),
        stream = server(Upstream::Stream, ""),
    );
    launch(program, assignment, &text)
}

fn launch_tcp(program: &Path, assignment: &Assignment) -> io::Result<Launch> {
    let pass = |name: &str, port: u16, upstream| {
        let origin = assignment.origin_port(upstream);
        format!(
            "listen {name}\n  bind 127.0.0.1:{port} backlog 4096\n  server origin 127.0.0.1:{origin}\n"
        )
    };
    let text = format!(
        "{}  option tcplog\n{}{}",
        preamble("tcp"),
        pass("front", assignment.port, Upstream::Plain),
        pass("stream", assignment.port + 1, Upstream::Stream),
    );
    launch(program, assignment, &text)
}

fn launch(program: &Path, assignment: &Assignment, text: &str) -> io::Result<Launch> {
    let mut command = Command::new(program);
    // -db: no daemon.
    command
        .arg("-db")
        .arg("-f")
        .arg(assignment.write("haproxy.cfg", text)?);
    Ok(Launch {
        command,
        logs: Vec::new(),
        stdout: None,
    })
}
